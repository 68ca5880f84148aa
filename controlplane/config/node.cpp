#include "node.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace sluice::control {

const Node* Node::find(std::string_view key) const {
  for (const Entry& e : entries) {
    if (e.key == key) return &e.value;
  }
  return nullptr;
}

Node* Node::find(std::string_view key) {
  return const_cast<Node*>(static_cast<const Node*>(this)->find(key));
}

namespace {

std::string shorten(std::string_view text) {
  constexpr std::size_t kShown = 60;
  std::string out = "\"";
  for (const char c : text.substr(0, kShown)) {
    out += (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) ? '?' : c;
  }
  // Not in the middle of a UTF-8 sequence.
  if (text.size() > kShown) {
    while (out.size() > 1 && (static_cast<unsigned char>(out.back()) & 0xc0) == 0x80) {
      out.pop_back();
    }
    if (static_cast<unsigned char>(out.back()) >= 0xc0) out.pop_back();
    out += "…";
  }
  return out + "\"";
}

}  // namespace

std::string describe(const Node& node) {
  switch (node.type) {
    case Node::Type::null:
      return "nothing";
    case Node::Type::boolean:
      return node.boolean ? "true" : "false";
    case Node::Type::integer:
    case Node::Type::number:
      return node.text.size() <= 60 ? node.text : node.text.substr(0, 60) + "…";
    case Node::Type::text:
      return shorten(node.text);
    case Node::Type::list:
      return "a list";
    case Node::Type::map:
      return "a mapping";
  }
  return "nothing";
}

void Errors::add(int line, int column, std::string pointer, std::string message) {
  if (full() || (one_per_value_ && mentions(pointer))) return;
  ConfigError e;
  e.file = file_;
  e.line = line;
  e.column = column;
  e.pointer = std::move(pointer);
  e.message = std::move(message);
  e.document = document_;
  list_.push_back(std::move(e));
}

std::vector<ConfigError> Errors::take() {
  std::vector<ConfigError> sorted;
  const auto before = [](const ConfigError& a, const ConfigError& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  };
  const bool cut = full();
  for (ConfigError& e : list_) {
    sorted.insert(std::upper_bound(sorted.begin(), sorted.end(), e, before), std::move(e));
  }
  list_.clear();
  if (cut) sorted.back().message += " (more problems are not listed)";
  return sorted;
}

bool Errors::mentions(std::string_view pointer) const {
  for (const ConfigError& e : list_) {
    if (!e.pointer.starts_with(pointer)) continue;
    if (e.pointer.size() == pointer.size() || e.pointer[pointer.size()] == '/') return true;
  }
  return false;
}

std::string child(const std::string& pointer, std::string_view key) {
  std::string out = pointer + "/";
  for (const char c : key) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

std::string child(const std::string& pointer, std::size_t index) {
  return pointer + "/" + std::to_string(index);
}

namespace {

Node convert(const boost::json::value& json, std::size_t depth, const std::string& pointer,
             Errors& errors) {
  Node n;
  if (depth > kMaxConfigDepth) {
    if (!errors.full()) errors.add(n, pointer, "nested deeper than 32 levels");
    return n;
  }
  switch (json.kind()) {
    case boost::json::kind::null:
      break;
    case boost::json::kind::bool_:
      n.type = Node::Type::boolean;
      n.boolean = json.get_bool();
      break;
    case boost::json::kind::int64:
      n.type = Node::Type::integer;
      n.integer = json.get_int64();
      n.text = std::to_string(n.integer);
      break;
    case boost::json::kind::uint64:
      n.text = std::to_string(json.get_uint64());
      if (json.get_uint64() <=
          static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        n.type = Node::Type::integer;
        n.integer = static_cast<std::int64_t>(json.get_uint64());
      } else {
        n.type = Node::Type::number;
        n.number = static_cast<double>(json.get_uint64());
      }
      break;
    case boost::json::kind::double_:
      n.type = Node::Type::number;
      n.number = json.get_double();
      n.text = boost::json::serialize(json);
      break;
    case boost::json::kind::string:
      n.type = Node::Type::text;
      n.text = std::string(json.get_string());
      break;
    case boost::json::kind::array:
      n.type = Node::Type::list;
      for (const auto& item : json.get_array()) {
        n.items.push_back(convert(item, depth + 1, child(pointer, n.items.size()), errors));
      }
      break;
    case boost::json::kind::object:
      n.type = Node::Type::map;
      for (const auto& member : json.get_object()) {
        const std::string key(member.key());
        n.entries.push_back(
            {key, 0, 0, convert(member.value(), depth + 1, child(pointer, key), errors)});
      }
      break;
  }
  return n;
}

}  // namespace

Node from_json(const boost::json::value& json, Errors& errors) {
  return convert(json, 1, "", errors);
}

boost::json::value to_json(const Node& node) {
  switch (node.type) {
    case Node::Type::null:
      return nullptr;
    case Node::Type::boolean:
      return node.boolean;
    case Node::Type::integer:
      return node.integer;
    case Node::Type::number:
      return node.number;
    case Node::Type::text:
      return boost::json::string(node.text);
    case Node::Type::list: {
      boost::json::array list;
      for (const Node& item : node.items) list.push_back(to_json(item));
      return list;
    }
    case Node::Type::map: {
      boost::json::object map;
      for (const Entry& e : node.entries) map.emplace(e.key, to_json(e.value));
      return map;
    }
  }
  return nullptr;
}

}  // namespace sluice::control
