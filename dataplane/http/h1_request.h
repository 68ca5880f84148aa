// From a request's head to the message model: RFC 9112 section 3.
#pragma once

#include <cstdint>
#include <string_view>

#include "h1_parser.h"

namespace sluice::http {

// Fills all of `request` but its fields' last word: they are moved in from `head`. none, or why it
// is refused and the status that says so.
Error make_request(H1Head& head, std::string_view scheme, const ConnectionLimits& limits,
                   Request& request, H1Control& control, std::uint16_t& status);

}  // namespace sluice::http
