// What every command of sluicectl needs: options, the gateway's answers, and how it ends.
// Exit codes: 0 done · 1 refused by the gateway · 2 wrong use · 3 the gateway cannot be reached.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::control {

inline constexpr int kRefused = 1, kWrongUse = 2, kUnreachable = 3;

struct Options {
  std::string socket = "/run/sluice/control.sock";
  std::string output = "table";
};

// Thrown: what there was to say has been said.
struct Exit {
  int code;
};

// For a path segment or a query value.
std::string escape(std::string_view text);

// One request. A refusal is printed, and ends the program.
boost::json::value call(const Options& options, std::string_view method, const std::string& target,
                        const std::string& body = {},
                        const std::vector<std::pair<std::string, std::string>>& headers = {});
// Prints what a refusal says.
void print_refusal(unsigned status, const std::string& body);
// All pages of a list.
boost::json::array call_list(const Options& options, const std::string& target);

}  // namespace sluice::control
