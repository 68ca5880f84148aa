#include "command.h"

#include <iostream>

#include "controlplane/client.h"

namespace sluice::control {

namespace json = boost::json;

namespace {

void print_problem(const json::value& value, unsigned status) {
  const auto* problem = value.if_object();
  if (problem == nullptr || !problem->contains("detail")) {
    std::cerr << "sluicectl: refused with status " << status << "\n";
    return;
  }
  const auto text = [](const json::object& object, const char* name) {
    const auto* member = object.if_contains(name);
    return member != nullptr && member->is_string() ? std::string(member->get_string())
                                                    : std::string();
  };
  std::cerr << "sluicectl: " << text(*problem, "title") << " (" << status << ")";
  const auto* errors = problem->if_contains("errors");
  if (errors == nullptr || !errors->is_array()) {
    std::cerr << ": " << text(*problem, "detail") << "\n";
    return;
  }
  std::cerr << "\n";
  for (const auto& error : errors->get_array()) {
    if (!error.is_object()) continue;
    const std::string pointer = text(error.get_object(), "pointer");
    std::cerr << "  " << (pointer.empty() ? "" : pointer + ": ")
              << text(error.get_object(), "detail") << "\n";
  }
}

}  // namespace

std::string escape(std::string_view text) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kDigits[static_cast<unsigned char>(c) >> 4];
      out += kDigits[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

json::value call(const Options& options, std::string_view method, const std::string& target,
                 const std::string& body,
                 const std::vector<std::pair<std::string, std::string>>& headers) {
  const auto response = request(options.socket, method, target, body, headers);
  if (!response) {
    std::cerr << "sluicectl: " << response.error()
              << "\n  Is sluiced running, and may you use its socket (group sluice)?\n";
    throw Exit{kUnreachable};
  }
  json::error_code error;
  json::value value = response->body.empty() ? json::value() : json::parse(response->body, error);
  if (error) value = json::string(response->body);
  if (response->status >= 400) {
    print_problem(value, response->status);
    throw Exit{kRefused};
  }
  if (response->status == 202 && (method == "PUT" || method == "DELETE")) {
    std::cerr << "sluicectl: stored, but not every worker uses it yet\n";
  }
  return value;
}

void print_refusal(unsigned status, const std::string& body) {
  json::error_code error;
  json::value value = json::parse(body, error);
  if (error) value = json::string(body);
  print_problem(value, status);
}

json::array call_list(const Options& options, const std::string& target) {
  json::array all;
  std::string token;
  do {
    const std::string next = target + (target.find('?') == std::string::npos ? "?" : "&") +
                             "limit=1000" + (token.empty() ? "" : "&page_token=" + escape(token));
    const json::value page = call(options, "GET", next);
    for (const auto& item : page.at("items").get_array()) all.push_back(item);
    const auto* more = page.get_object().if_contains("next_page_token");
    token = more != nullptr ? std::string(more->get_string()) : std::string();
  } while (!token.empty());
  return all;
}

}  // namespace sluice::control
