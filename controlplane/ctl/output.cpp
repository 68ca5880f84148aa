#include "output.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <iostream>

namespace sluice::control {
namespace json = boost::json;
namespace {

void emit_yaml(YAML::Emitter& out, const json::value& value) {
  switch (value.kind()) {
    case json::kind::object:
      out << YAML::BeginMap;
      for (const auto& member : value.get_object()) {
        out << YAML::Key << std::string(member.key()) << YAML::Value;
        emit_yaml(out, member.value());
      }
      out << YAML::EndMap;
      break;
    case json::kind::array:
      out << YAML::BeginSeq;
      for (const auto& item : value.get_array()) emit_yaml(out, item);
      out << YAML::EndSeq;
      break;
    case json::kind::string: {
      // Quoted where plain text would be read as another type.
      const std::string text(value.get_string());
      json::error_code error;
      const json::value reread = json::parse(text, error);
      const bool plain = error && text != "yes" && text != "no" && text != "on" && text != "off" &&
                         text != "~" && !text.empty();
      if (!plain) out << YAML::DoubleQuoted;
      out << text;
      break;
    }
    default:
      out << json::serialize(value);
  }
}

// Text from the gateway may hold an agent's bytes: control characters stay off the terminal.
std::string cell(const json::object& row, const std::string& column) {
  const auto* value = row.if_contains(column);
  if (value == nullptr || value->is_null()) return "-";
  std::string text =
      value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
  if (text.empty()) text = "-";
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

void print(const std::string& form, const json::value& value) {
  if (form == "yaml") {
    YAML::Emitter out;
    emit_yaml(out, value);
    std::cout << out.c_str() << "\n";
  } else {
    std::cout << json::serialize(value) << "\n";
  }
}

void print_table(const json::array& rows, const std::vector<std::string>& columns) {
  std::vector<std::vector<std::string>> cells(1);
  for (std::string head : columns) {
    std::ranges::transform(head, head.begin(), [](char c) {
      return c == '_' ? ' ' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    });
    cells[0].push_back(std::move(head));
  }
  for (const auto& row : rows) {
    if (!row.is_object()) continue;
    auto& line = cells.emplace_back();
    for (const auto& column : columns) line.push_back(cell(row.get_object(), column));
  }
  std::vector<std::size_t> widths(columns.size());
  for (const auto& line : cells) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  for (const auto& line : cells) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i) {
      text += line[i];
      if (i + 1 < line.size()) text.append(widths[i] - line[i].size() + 2, ' ');
    }
    std::cout << text << "\n";
  }
}

}  // namespace sluice::control
