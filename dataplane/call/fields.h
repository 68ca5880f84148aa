// Which header fields cross the gateway, and what it adds (contract section 5).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "http/message.h"

namespace sluice::call {

// Removes what agents may not send to tools, and the task token in `token_field`.
void clean_request(http::FieldBlock& fields, std::string_view token_field);
// Removes what only the gateway may say.
void clean_response(http::FieldBlock& fields);

// W3C Trace Context "00-<trace>-<span>-01".
std::string traceparent(const std::array<std::uint8_t, 16>& trace,
                        const std::array<std::uint8_t, 8>& span);
std::string hex(const std::uint8_t* bytes, std::size_t n);
// RFC 9562 text of a task id.
std::string uuid_text(const std::array<std::uint8_t, 16>& id);

// RFC 9110 section 9.2: methods that may be repeated without asking.
bool safe_method(std::string_view method);
bool idempotent_method(std::string_view method);

}  // namespace sluice::call
