#include "schema.h"

#include <algorithm>
#include <set>

namespace sluice::control {

using Base = Value::Base;

Value boolean() {
  Value v;
  v.base = Base::boolean;
  return v;
}
Value whole(std::int64_t min, std::int64_t max) {
  Value v;
  v.base = Base::integer;
  v.min = min;
  v.max = max;
  return v;
}
Value number(std::int64_t min, std::int64_t max) {
  Value v = whole(min, max);
  v.base = Base::number;
  return v;
}
Value text(std::int64_t min_length, std::int64_t max_length) {
  Value v = whole(min_length, max_length);
  v.base = Base::text;
  return v;
}
Value text_as(TextCheck check, std::string_view expected, std::string_view format) {
  Value v = text(0, 4096);
  v.check = check;
  v.expected = expected;
  v.format = format;
  return v;
}
Value one_of(std::vector<std::string_view> choices) {
  Value v = text(0, 4096);
  v.choices = std::move(choices);
  return v;
}
Value list_of(Value element, std::int64_t min_count, std::int64_t max_count) {
  Value v = whole(min_count, max_count);
  v.base = Base::list;
  v.element = std::make_shared<Value>(std::move(element));
  return v;
}
Value object(const Schema& (*schema)()) {
  Value v;
  v.base = Base::object;
  v.schema = schema;
  return v;
}
Value map_of(TextCheck key_check, std::string_view expected_key, Value element,
             std::int64_t min_count, std::int64_t max_count) {
  Value v = list_of(std::move(element), min_count, max_count);
  v.base = Base::map;
  v.check = key_check;
  v.expected = expected_key;
  return v;
}
Value anything(std::string_view expected) {
  Value v;
  v.expected = expected;
  return v;
}
Value distinct(Value list) {
  list.unique = true;
  return list;
}
Value one_or(Value list) {
  list.lone = true;
  return list;
}

namespace {

std::string join(const auto& names) {
  std::string out;
  for (const auto& n : names) {
    if (!out.empty()) out += ", ";
    out += n;
  }
  return out;
}

std::vector<std::string> field_names(const Schema& schema) {
  std::vector<std::string> names;
  names.reserve(schema.fields.size());
  for (const Field& f : schema.fields) names.emplace_back(f.name);
  return names;
}

std::string range(const Value& v) { return std::to_string(v.min) + " to " + std::to_string(v.max); }

std::string hint(std::string_view word, const std::vector<std::string>& candidates) {
  const auto near = near_miss(word, candidates);
  return near ? "; did you mean \"" + *near + "\"?" : "";
}

void mismatch(const Node& node, const Value& value, const std::string& pointer, Errors& errors,
              const std::string& why = {}) {
  errors.add(node, pointer, "expected " + expected_text(value) + ", got " + describe(node) + why);
}

// Would the scalar do if it were text?
bool fits_as_text(Node node, const Value& value) {
  node.type = Node::Type::text;
  Errors errors("");
  validate(node, value, "", errors);
  return errors.empty();
}

void validate_text(const Node& node, const Value& value, const std::string& pointer,
                   Errors& errors) {
  if (node.type != Node::Type::text) {
    const bool number = node.type == Node::Type::integer || node.type == Node::Type::number;
    return mismatch(node, value, pointer, errors,
                    number && fits_as_text(node, value) ? "; put it in quotes" : "");
  }
  if (!value.choices.empty()) {
    if (std::find(value.choices.begin(), value.choices.end(), node.text) != value.choices.end()) {
      return;
    }
    return mismatch(node, value, pointer, errors,
                    hint(node.text, {value.choices.begin(), value.choices.end()}));
  }
  const auto size = static_cast<std::int64_t>(node.text.size());
  if (value.check == nullptr) {
    if (size < value.min || size > value.max) mismatch(node, value, pointer, errors);
    return;
  }
  const Complaint complaint =
      size > value.max ? Complaint("it is too long") : value.check(node.text);
  if (complaint) {
    mismatch(node, value, pointer, errors, complaint->empty() ? "" : ": " + *complaint);
  }
}

void validate_list(const Node& node, const Value& value, const std::string& pointer,
                   Errors& errors) {
  if (node.type != Node::Type::list) {
    if (value.lone) return validate(node, *value.element, pointer, errors);
    const bool scalar = node.type != Node::Type::null && node.type != Node::Type::map;
    return mismatch(node, value, pointer, errors, scalar ? "; write [" + describe(node) + "]" : "");
  }
  const auto count = static_cast<std::int64_t>(node.items.size());
  if (count < value.min || count > value.max) {
    errors.add(node, pointer,
               "expected " + range(value) + " entries, got " + std::to_string(count));
    if (count > value.max + 8) return;  // a check of an entry may cost something
  }
  std::set<std::string> seen;
  for (std::size_t i = 0; i < node.items.size() && !errors.full(); ++i) {
    const Node& item = node.items[i];
    validate(item, *value.element, child(pointer, i), errors);
    if (value.unique && !seen.insert(describe(item) + item.text).second) {
      errors.add(item, child(pointer, i), describe(item) + " stands in this list twice");
    }
  }
}

void validate_object(const Node& node, const Value& value, const std::string& pointer,
                     Errors& errors) {
  if (node.type != Node::Type::map) return mismatch(node, value, pointer, errors);
  const Schema& schema = value.schema();
  for (const Entry& e : node.entries) {
    if (errors.full()) return;
    const auto field = std::find_if(schema.fields.begin(), schema.fields.end(),
                                    [&](const Field& f) { return f.name == e.key; });
    if (field == schema.fields.end()) {
      Node shown;
      shown.type = Node::Type::text;
      shown.text = e.key;
      const auto names = field_names(schema);
      errors.add(e.line, e.column, child(pointer, e.key),
                 "unknown key " + describe(shown) + hint(e.key, names) +
                     (hint(e.key, names).empty() ? "; accepted: " : " Accepted: ") + join(names));
    } else {
      validate(e.value, field->value, child(pointer, e.key), errors);
    }
  }
  for (const Field& f : schema.fields) {
    if (f.required && node.find(f.name) == nullptr) {
      errors.add(node, child(pointer, f.name),
                 "missing; expected " + expected_text(f.value) + " (" + std::string(f.help) + ")");
    }
  }
}

void validate_map(const Node& node, const Value& value, const std::string& pointer,
                  Errors& errors) {
  if (node.type != Node::Type::map) return mismatch(node, value, pointer, errors);
  const auto count = static_cast<std::int64_t>(node.entries.size());
  if (count < value.min || count > value.max) {
    errors.add(node, pointer,
               "expected " + range(value) + " entries, got " + std::to_string(count));
    if (count > value.max) return;
  }
  for (const Entry& e : node.entries) {
    if (errors.full()) return;
    if (const Complaint complaint = value.check(e.key)) {
      Node shown;
      shown.type = Node::Type::text;
      shown.text = e.key;
      errors.add(e.line, e.column, child(pointer, e.key),
                 "expected " + std::string(value.expected) + ", got " + describe(shown) +
                     (complaint->empty() ? "" : ": " + *complaint));
    }
    validate(e.value, *value.element, child(pointer, e.key), errors);
  }
}

}  // namespace

std::string expected_text(const Value& value) {
  switch (value.base) {
    case Base::boolean:
      return "true or false";
    case Base::integer:
      return "a whole number from " + range(value);
    case Base::number:
      return "a number from " + range(value);
    case Base::text:
      if (!value.choices.empty()) return "one of " + join(value.choices);
      if (value.check != nullptr) return std::string(value.expected);
      return "text of " + range(value) + " bytes";
    case Base::list:
      if (value.lone) return expected_text(*value.element) + ", or a list of them";
      return "a list of " + range(value) + " entries, each " + expected_text(*value.element);
    case Base::object:
      return "a mapping with the keys " + join(field_names(value.schema()));
    case Base::map:
      return "a mapping, each key " + std::string(value.expected);
    case Base::any:
      return std::string(value.expected);
  }
  return "";
}

void validate(const Node& node, const Value& value, const std::string& pointer, Errors& errors) {
  if (errors.full()) return;
  switch (value.base) {
    case Base::boolean:
      if (node.type != Node::Type::boolean) mismatch(node, value, pointer, errors);
      return;
    case Base::integer:
      if (node.type != Node::Type::integer || node.integer < value.min ||
          node.integer > value.max) {
        mismatch(node, value, pointer, errors);
      }
      return;
    case Base::number: {
      const bool is_number = node.type == Node::Type::integer || node.type == Node::Type::number;
      const double n =
          node.type == Node::Type::integer ? static_cast<double>(node.integer) : node.number;
      if (!is_number || !(n >= static_cast<double>(value.min)) ||
          !(n <= static_cast<double>(value.max))) {
        mismatch(node, value, pointer, errors);
      }
      return;
    }
    case Base::text:
      return validate_text(node, value, pointer, errors);
    case Base::list:
      return validate_list(node, value, pointer, errors);
    case Base::object:
      return validate_object(node, value, pointer, errors);
    case Base::map:
      return validate_map(node, value, pointer, errors);
    case Base::any:
      return;
  }
}

namespace {

void set_place(Node& node, const Node& like) {
  node.line = like.line;
  node.column = like.column;
  for (Node& item : node.items) set_place(item, like);
  for (Entry& e : node.entries) set_place(e.value, like);
}

}  // namespace

void apply_defaults(Node& node, const Value& value) {
  if (value.base == Base::list) {
    if (value.lone && node.type != Node::Type::list) {
      Node list;
      list.type = Node::Type::list;
      set_place(list, node);
      list.items.push_back(std::move(node));
      node = std::move(list);
    }
    for (Node& item : node.items) apply_defaults(item, *value.element);
    return;
  }
  if (node.type != Node::Type::map) return;
  if (value.base == Base::map) {
    for (Entry& e : node.entries) apply_defaults(e.value, *value.element);
  }
  if (value.base != Base::object) return;
  for (const Field& f : value.schema().fields) {
    Node* present = node.find(f.name);
    if (present == nullptr && !f.fallback.empty()) {
      Errors none("");
      Node made = from_json(boost::json::parse({f.fallback.data(), f.fallback.size()}), none);
      set_place(made, node);
      node.entries.push_back({std::string(f.name), node.line, node.column, std::move(made)});
      present = &node.entries.back().value;
    }
    if (present != nullptr) apply_defaults(*present, f.value);
  }
}

namespace {

boost::json::string to_string(std::string_view text) {
  return boost::json::string(text.data(), text.size());
}

void add_text_schema(boost::json::object& out, const Value& value) {
  out["type"] = "string";
  if (!value.choices.empty()) {
    boost::json::array choices;
    for (const auto c : value.choices) choices.push_back(to_string(c));
    out["enum"] = choices;
  } else if (value.check != nullptr) {
    out["description"] = to_string(value.expected);
    if (!value.format.empty()) out["format"] = to_string(value.format);
  } else {
    out["minLength"] = value.min;
    out["maxLength"] = value.max;
  }
}

void add_object_schema(boost::json::object& out, const Schema& schema) {
  out["type"] = "object";
  out["additionalProperties"] = false;
  boost::json::object properties;
  boost::json::array required;
  for (const Field& f : schema.fields) {
    boost::json::object property = json_schema(f.value);
    std::string help(f.help);
    if (const auto* form = property.if_contains("description")) {
      help += help.empty() ? "" : ": ";
      help += std::string(form->as_string());
    }
    property["description"] = help;
    if (!f.fallback.empty()) {
      property["default"] = boost::json::parse({f.fallback.data(), f.fallback.size()});
    }
    properties[to_string(f.name)] = property;
    if (f.required) required.push_back(to_string(f.name));
  }
  out["properties"] = properties;
  if (!required.empty()) out["required"] = required;
}

}  // namespace

boost::json::object json_schema(const Value& value) {
  boost::json::object out;
  switch (value.base) {
    case Base::boolean:
      out["type"] = "boolean";
      break;
    case Base::integer:
    case Base::number:
      out["type"] = value.base == Base::integer ? "integer" : "number";
      out["minimum"] = value.min;
      out["maximum"] = value.max;
      break;
    case Base::text:
      add_text_schema(out, value);
      break;
    case Base::list: {
      boost::json::object list;
      list["type"] = "array";
      list["items"] = json_schema(*value.element);
      list["minItems"] = value.min;
      list["maxItems"] = value.max;
      if (value.unique) list["uniqueItems"] = true;
      if (value.lone) {
        out["oneOf"] = boost::json::array{json_schema(*value.element), list};
      } else {
        out = list;
      }
      break;
    }
    case Base::object:
      add_object_schema(out, value.schema());
      break;
    case Base::map:
      out["type"] = "object";
      out["additionalProperties"] = json_schema(*value.element);
      out["maxProperties"] = value.max;
      break;
    case Base::any:
      break;
  }
  return out;
}

namespace {

// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '-' || c == '_' || c == ' ') continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  }
  return out;
}

}  // namespace

std::optional<std::string> near_miss(std::string_view word,
                                     const std::vector<std::string>& candidates) {
  if (word.empty() || word.size() > 64) return std::nullopt;
  const std::string wanted = plain(word);
  std::optional<std::string> best;
  std::size_t best_distance =
      std::max<std::size_t>(1, std::min<std::size_t>(3, wanted.size() / 3)) + 1;
  for (const std::string& c : candidates) {
    const std::size_t d = distance(wanted, plain(c));
    if (d < best_distance) {
      best = c;
      best_distance = d;
    }
  }
  return best;
}

namespace {

const Node* typed(const Node& node, std::string_view key, Node::Type type) {
  const Node* n = node.find(key);
  return n != nullptr && n->type == type ? n : nullptr;
}

}  // namespace

std::optional<std::string> get_text(const Node& node, std::string_view key) {
  const Node* n = typed(node, key, Node::Type::text);
  return n != nullptr ? std::optional(n->text) : std::nullopt;
}

std::optional<std::int64_t> get_whole(const Node& node, std::string_view key) {
  const Node* n = typed(node, key, Node::Type::integer);
  return n != nullptr ? std::optional(n->integer) : std::nullopt;
}

std::optional<double> get_number(const Node& node, std::string_view key) {
  if (const auto n = get_whole(node, key)) return static_cast<double>(*n);
  const Node* n = typed(node, key, Node::Type::number);
  return n != nullptr ? std::optional(n->number) : std::nullopt;
}

std::optional<bool> get_boolean(const Node& node, std::string_view key) {
  const Node* n = typed(node, key, Node::Type::boolean);
  return n != nullptr ? std::optional(n->boolean) : std::nullopt;
}

const std::vector<Node>& get_list(const Node& node, std::string_view key) {
  static const std::vector<Node> kNothing;
  const Node* n = typed(node, key, Node::Type::list);
  return n != nullptr ? n->items : kNothing;
}

const Node& get_map(const Node& node, std::string_view key) {
  static const Node kNothing;
  const Node* n = typed(node, key, Node::Type::map);
  return n != nullptr ? *n : kNothing;
}

std::vector<std::string> get_texts(const Node& node, std::string_view key) {
  std::vector<std::string> texts;
  for (const Node& item : get_list(node, key)) {
    if (item.type == Node::Type::text) texts.push_back(item.text);
  }
  return texts;
}

}  // namespace sluice::control
