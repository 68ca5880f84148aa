// The forms of sluicectl's output.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <vector>

namespace sluice::control {

// "json" or "yaml", to standard output.
void print(const std::string& form, const boost::json::value& value);
// One row per object; a missing member is a dash.
void print_table(const boost::json::array& rows, const std::vector<std::string>& columns);

}  // namespace sluice::control
