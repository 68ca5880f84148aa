#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <unordered_set>

#include "base/utf8.h"
#include "node.h"

namespace sluice::control {
namespace {

// Thrown by the handler below to leave yaml-cpp's parser; what is wrong is in the error list.
struct Stop {};

std::size_t skip_digits(std::string_view& text) {
  const std::size_t n = std::min(text.find_first_not_of("0123456789"), text.size());
  text.remove_prefix(n);
  return n;
}

// integer, number, or text: what the letters allow.
Node::Type shape_of(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  const bool zero = text.starts_with('0');
  const std::size_t whole = skip_digits(text);
  if (zero && whole > 1) return Node::Type::text;
  if (text.empty() && whole > 0) return Node::Type::integer;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (skip_digits(text) + whole == 0) return Node::Type::text;
  } else if (whole == 0) {
    return Node::Type::text;
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
    if (skip_digits(text) == 0) return Node::Type::text;
  }
  return text.empty() ? Node::Type::number : Node::Type::text;
}

// Plain scalars by the core schema (YAML 1.2.2 section 10.3.2), less octal and hexadecimal numbers,
// infinities and leading zeros, which stay text and so are refused where a number is due.
void resolve_plain(Node& n) {
  const std::string& t = n.text;
  if (t == "true" || t == "false" || t == "True" || t == "False" || t == "TRUE" || t == "FALSE") {
    n.type = Node::Type::boolean;
    n.boolean = (t[0] | 0x20) == 't';
    return;
  }
  if (t.empty() || t.size() > 40) return;
  const char* begin = t.data() + (t[0] == '+' ? 1 : 0);
  const char* end = t.data() + t.size();
  const Node::Type shape = shape_of(t);
  if (shape == Node::Type::integer) {
    const auto [stopped, error] = std::from_chars(begin, end, n.integer);
    if (error == std::errc{} && stopped == end) {
      n.type = Node::Type::integer;
      return;
    }
  }
  // A whole number too large for 64 bits is a number all the same.
  if (shape == Node::Type::integer || shape == Node::Type::number) {
    const auto [stopped, error] = std::from_chars(begin, end, n.number);
    if (error == std::errc{} && stopped == end) n.type = Node::Type::number;
  }
}

class Builder : public YAML::EventHandler {
 public:
  Builder(std::vector<Node>& documents, Errors& errors) : documents_(documents), errors_(errors) {}

  void OnDocumentStart(const YAML::Mark&) override {
    frames_.clear();
    root_ = Node{};
  }
  void OnDocumentEnd() override { documents_.push_back(std::move(root_)); }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (at_key()) return fail(mark, "a key is missing before \":\"");
    value(make(mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "aliases (*name) are not accepted; write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& text) override {
    refuse_tag(mark, tag);
    if (at_key()) return key(mark, text);
    Node n = make(mark);
    n.type = Node::Type::text;
    n.text = text;
    if (tag != "!") resolve_plain(n);  // "!" is how yaml-cpp marks a quoted scalar
    value(std::move(n));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, Node::Type::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, Node::Type::map);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    Node node;
    std::string pointer;
    std::string key;
    int key_line = 0, key_column = 0;
    bool has_key = false;
    std::unordered_set<std::string> keys;
  };

  Node make(const YAML::Mark& mark) {
    if (++count_ > kMaxConfigNodes) fail(mark, "more than 100000 values in one file");
    Node n;
    n.line = mark.line + 1;
    n.column = mark.column + 1;
    return n;
  }

  [[noreturn]] void fail(const YAML::Mark& mark, std::string message) {
    errors_.add(mark.line + 1, mark.column + 1, frames_.empty() ? "" : here(), std::move(message));
    throw Stop{};
  }

  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      fail(mark, "tags (!" + tag.substr(0, 40) + ") are not accepted");
    }
  }

  bool at_key() const {
    return !frames_.empty() && frames_.back().node.type == Node::Type::map &&
           !frames_.back().has_key;
  }

  std::string here() const {
    const Frame& f = frames_.back();
    if (f.node.type == Node::Type::list) return child(f.pointer, f.node.items.size());
    return f.has_key ? child(f.pointer, f.key) : f.pointer;
  }

  void key(const YAML::Mark& mark, const std::string& text) {
    Frame& f = frames_.back();
    f.key = text;
    f.key_line = mark.line + 1;
    f.key_column = mark.column + 1;
    f.has_key = true;
    if (!f.keys.insert(text).second) {
      // Said, not fatal: the rest of the file is still worth checking.
      errors_.add(f.key_line, f.key_column, child(f.pointer, text),
                  "the key stands here a second time; keep one");
    }
  }

  void open(const YAML::Mark& mark, const std::string& tag, Node::Type type) {
    refuse_tag(mark, tag);
    if (at_key()) fail(mark, "a key must be text");
    if (frames_.size() >= kMaxConfigDepth) fail(mark, "nested deeper than 32 levels");
    Frame f;
    f.pointer = frames_.empty() ? "" : here();
    f.node = make(mark);
    f.node.type = type;
    frames_.push_back(std::move(f));
  }

  void close() {
    Node n = std::move(frames_.back().node);
    frames_.pop_back();
    value(std::move(n));
  }

  void value(Node n) {
    if (frames_.empty()) {
      root_ = std::move(n);
      return;
    }
    Frame& f = frames_.back();
    if (f.node.type == Node::Type::list) {
      f.node.items.push_back(std::move(n));
    } else {
      f.node.entries.push_back({std::move(f.key), f.key_line, f.key_column, std::move(n)});
      f.has_key = false;
    }
  }

  std::vector<Node>& documents_;
  Errors& errors_;
  std::vector<Frame> frames_;
  Node root_;
  std::size_t count_ = 0;
};

bool indented_with_tab(const std::string& text, int line) {
  std::istringstream in(text);
  std::string content;
  for (int i = 0; i <= line && std::getline(in, content); ++i) {
  }
  const std::size_t indent = content.find_first_not_of(" \t");
  return content.substr(0, indent).find('\t') != std::string::npos;
}

}  // namespace

std::expected<std::vector<Node>, std::vector<ConfigError>> parse_yaml(const std::string& text,
                                                                      const std::string& file) {
  Errors errors(file);
  std::vector<Node> documents;
  if (text.size() > kMaxConfigFile) {
    errors.add(0, 0, "", "the file is longer than 1 MiB");
    return std::unexpected(errors.take());
  }
  if (const std::size_t bad = std::min(first_not_utf8(text), text.find('\0'));
      bad != std::string_view::npos) {
    const auto lines =
        std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n');
    const std::size_t line_start =
        text.rfind('\n', bad) == std::string::npos || bad == 0 ? 0 : text.rfind('\n', bad - 1) + 1;
    errors.add(static_cast<int>(lines) + 1, static_cast<int>(bad - line_start) + 1, "",
               "the file is not UTF-8 text");
    return std::unexpected(errors.take());
  }
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    Builder builder(documents, errors);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Stop&) {
  } catch (const YAML::Exception& e) {
    errors.add(e.mark.line + 1, e.mark.column + 1, "",
               "not valid YAML: " + e.msg +
                   (indented_with_tab(text, e.mark.line) ? "; indent with spaces, not tabs" : ""));
  }
  if (!errors.empty()) return std::unexpected(errors.take());
  return documents;
}

}  // namespace sluice::control
