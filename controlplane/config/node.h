// A parsed document, YAML or JSON, with the place of every value. Both kinds of text become the
// same tree, so that both are checked by the same tables.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/config_error.h"

namespace sluice::control {

inline constexpr std::size_t kMaxConfigFile = 1 << 20;
inline constexpr std::size_t kMaxConfigDepth = 32;
inline constexpr std::size_t kMaxConfigNodes = 100'000;

struct Entry;

struct Node {
  enum class Type : std::uint8_t { null, boolean, integer, number, text, list, map };

  Type type = Type::null;
  int line = 0, column = 0;  // from 1; 0 if unknown
  bool boolean = false;
  std::int64_t integer = 0;
  double number = 0;
  std::string text;  // of text; of numbers the digits as written
  std::vector<Node> items;
  std::vector<Entry> entries;  // in document order, keys distinct

  const Node* find(std::string_view key) const;
  Node* find(std::string_view key);
};

struct Entry {
  std::string key;
  int line = 0, column = 0;
  Node value;
};

// For messages: 17, "ten" (shortened, no control characters), a list, a mapping, nothing.
std::string describe(const Node& node);

// Problems of one document, with what is common to them. Keeps the first 64.
class Errors {
 public:
  explicit Errors(std::string file, std::string document = {})
      : file_(std::move(file)), document_(std::move(document)) {}

  void set_document(std::string document) { document_ = std::move(document); }
  void add(int line, int column, std::string pointer, std::string message);
  void add(const Node& at, std::string pointer, std::string message) {
    add(at.line, at.column, std::move(pointer), std::move(message));
  }
  // From here on a value that something is said about gets no second message: rules that join
  // settings would only repeat what is wrong with one of them.
  void one_per_value() { one_per_value_ = true; }
  bool empty() const { return list_.empty(); }
  bool full() const { return list_.size() >= kMax; }
  // Is something already said about this value or what is in it?
  bool mentions(std::string_view pointer) const;
  // In the order of the text.
  std::vector<ConfigError> take();

 private:
  static constexpr std::size_t kMax = 64;
  std::string file_;
  std::string document_;
  std::vector<ConfigError> list_;
  bool one_per_value_ = false;
};

// pointer + "/" + key, escaped by RFC 6901 section 3.
std::string child(const std::string& pointer, std::string_view key);
std::string child(const std::string& pointer, std::size_t index);

// The documents of a YAML text. Bounded in size, depth and count; duplicate keys, aliases, tags and
// text that is not UTF-8 are refused.
std::expected<std::vector<Node>, std::vector<ConfigError>> parse_yaml(const std::string& text,
                                                                      const std::string& file);

// nullopt-free: every JSON value has a tree. Deeper than kMaxConfigDepth is cut and reported.
Node from_json(const boost::json::value& json, Errors& errors);
boost::json::value to_json(const Node& node);

}  // namespace sluice::control
