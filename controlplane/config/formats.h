// Forms of text that documents and the boot file share. Each check answers nullopt if the text is
// good, "" if it is plainly of another form, or what exactly is wrong with it.
#pragma once

#include "schema.h"

namespace sluice::control {

Complaint check_name(std::string_view text);  // of a resource, port, listener
Complaint check_label_key(std::string_view text);
Complaint check_host(std::string_view text);          // a DNS name or an IPv4 address
Complaint check_host_pattern(std::string_view text);  // … or "*.example", or "[v6]"
Complaint check_endpoint_host(
    std::string_view text);  // a DNS name or an address one can connect to
Complaint check_path_prefix(std::string_view text);
Complaint check_address(std::string_view text);        // of one machine, IPv4 or IPv6
Complaint check_source_prefix(std::string_view text);  // 198.18.1.0/24, host bits zero
Complaint check_file(std::string_view text);           // an absolute path
Complaint check_method(std::string_view text);
Complaint check_path_pattern(std::string_view text);  // a regular expression Hyperscan takes
Complaint check_tool_name(std::string_view text);
Complaint check_tool_reference(std::string_view text);  // service or service/tool
Complaint check_allow_rule(std::string_view text);
Complaint check_permission(std::string_view text);
Complaint check_uuid(std::string_view text);
Complaint check_https_url(std::string_view text);
Complaint check_printable(std::string_view text);  // 1 to 512 characters, no spaces
Complaint check_one_line(std::string_view text);   // up to 1024 bytes, no control characters

std::string lower(std::string_view text);

// The usual values, so that tables stay short.
Value name_value();
Value file_value();
Value host_value();
Value address_value();

}  // namespace sluice::control
