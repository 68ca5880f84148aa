#include "http/message.h"

#include <functional>

#include "grammar.h"

namespace sluice::http {

namespace {

// What a common request or response needs, so that its block is built without growing.
constexpr std::size_t kFirstBytes = 512;
constexpr std::size_t kFirstFields = 16;

}  // namespace

bool FieldBlock::add(std::string_view name, std::string_view value, const FieldLimits& limits) {
  if (!fits(live_ + name.size() + value.size(), entries_.size(), limits)) return false;
  if (!is_token(name) || !is_field_value(value)) return false;
  append(name, value);
  return true;
}

bool FieldBlock::set(std::string_view name, std::string_view value, const FieldLimits& limits) {
  if (!is_token(name) || !is_field_value(value)) return false;
  std::size_t bytes = live_;
  std::size_t fields = entries_.size();
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Field f = at(i);
    if (f.name != name) continue;
    bytes -= f.name.size() + f.value.size();
    --fields;
  }
  if (!fits(bytes + name.size() + value.size(), fields, limits)) return false;
  remove(name);
  append(name, value);
  return true;
}

void FieldBlock::append(std::string_view name, std::string_view value) {
  const std::less<const char*> before;
  const char* end = arena_.data() + arena_.size();
  const auto ours = [&](std::string_view s) {
    return !before(s.data(), arena_.data()) && before(s.data(), end);
  };
  if (ours(name) || ours(value)) {
    const std::string name_copy(name), value_copy(value);
    return append(name_copy, value_copy);
  }
  if (arena_.size() > 2 * live_ + kFirstBytes) compact();
  if (entries_.capacity() == 0) {
    entries_.reserve(kFirstFields);
    arena_.reserve(kFirstBytes);
  }
  const std::size_t offset = arena_.size();
  arena_.append(name);
  for (std::size_t i = offset; i < arena_.size(); ++i) arena_[i] = lower(arena_[i]);
  arena_.append(value);
  entries_.push_back({static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(name.size()),
                      static_cast<std::uint32_t>(value.size())});
  live_ += name.size() + value.size();
}

void FieldBlock::compact() {
  std::size_t to = 0;
  for (Entry& e : entries_) {
    const std::size_t length = std::size_t{e.name_length} + e.value_length;
    std::char_traits<char>::move(arena_.data() + to, arena_.data() + e.offset, length);
    e.offset = static_cast<std::uint32_t>(to);
    to += length;
  }
  arena_.resize(to);
}

std::optional<std::string_view> FieldBlock::find(std::string_view name) const {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (at(i).name == name) return at(i).value;
  }
  return std::nullopt;
}

std::size_t FieldBlock::count(std::string_view name) const {
  std::size_t n = 0;
  for (std::size_t i = 0; i < entries_.size(); ++i) n += at(i).name == name ? 1 : 0;
  return n;
}

void FieldBlock::clear() {
  arena_.clear();
  entries_.clear();
  live_ = 0;
}

}  // namespace sluice::http
