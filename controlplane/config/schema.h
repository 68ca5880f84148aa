// Tables that say what a document may hold. One table drives the check, the defaults, the messages
// and the JSON Schema of the API description.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node.h"

namespace sluice::control {

struct Schema;

// What is wrong with a text: nullopt if nothing, "" if it is just not of the expected form.
using Complaint = std::optional<std::string>;
using TextCheck = Complaint (*)(std::string_view text);

struct Value {
  enum class Base : std::uint8_t { boolean, integer, number, text, list, object, map, any };

  Base base = Base::any;
  std::int64_t min = 0, max = 0;  // of integer, number; length of text; count of list and map
  std::vector<std::string_view> choices;  // text
  TextCheck check = nullptr;              // text; keys of a map
  std::string_view expected;              // text with a check, keys of a map: "a host name, …"
  std::string_view format;                // JSON Schema's, if it has one
  std::shared_ptr<const Value> element;   // list, map
  const Schema& (*schema)() = nullptr;    // object
  bool unique = false;                    // list of scalars: no value twice
  bool lone = false;                      // list: one value may stand without brackets
};

struct Field {
  std::string_view name;
  Value value;
  std::string_view help;
  bool required = false;
  std::string_view fallback = {};  // the default as JSON; empty: none
};

struct Schema {
  std::string_view title;
  std::vector<Field> fields;
};

// Builders, so that tables read as tables.
Value boolean();
Value whole(std::int64_t min, std::int64_t max);
Value number(std::int64_t min, std::int64_t max);
Value text(std::int64_t min_length, std::int64_t max_length);
Value text_as(TextCheck check, std::string_view expected, std::string_view format = {});
Value one_of(std::vector<std::string_view> choices);
Value list_of(Value element, std::int64_t min_count, std::int64_t max_count);
Value object(const Schema& (*schema)());
Value map_of(TextCheck key_check, std::string_view expected_key, Value element,
             std::int64_t min_count, std::int64_t max_count);
Value anything(std::string_view expected);  // checked elsewhere, or not at all
Value distinct(Value list);
Value one_or(Value list);

// "a whole number from 1 to 4094"
std::string expected_text(const Value& value);
// Reports everything that does not fit, with near misses.
void validate(const Node& node, const Value& value, const std::string& pointer, Errors& errors);
// Fills in what is missing and has a default. Wrong parts are left alone.
void apply_defaults(Node& node, const Value& value);
boost::json::object json_schema(const Value& value);

// The candidate that was probably meant.
std::optional<std::string> near_miss(std::string_view word,
                                     const std::vector<std::string>& candidates);

// Readers for trees that have been validated or not: nullopt when absent or of another type.
std::optional<std::string> get_text(const Node& node, std::string_view key);
std::optional<std::int64_t> get_whole(const Node& node, std::string_view key);
std::optional<double> get_number(const Node& node, std::string_view key);
std::optional<bool> get_boolean(const Node& node, std::string_view key);
// Empty when absent or of another type.
const std::vector<Node>& get_list(const Node& node, std::string_view key);
const Node& get_map(const Node& node, std::string_view key);
std::vector<std::string> get_texts(const Node& node, std::string_view key);

}  // namespace sluice::control
