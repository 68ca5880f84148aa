#include "http/message.h"

#include "grammar.h"

namespace sluice::http {

bool FieldBlock::add(std::string_view name, std::string_view value, const FieldLimits& limits) {
  if (entries_.size() >= limits.max_fields) return false;
  if (arena_.size() + name.size() + value.size() + 32 * (entries_.size() + 1) > limits.max_bytes) {
    return false;
  }
  if (!is_token(name) || !is_field_value(value)) return false;
  const auto offset = static_cast<std::uint32_t>(arena_.size());
  for (const char c : name) arena_.push_back(lower(c));
  arena_.append(value);
  entries_.push_back(
      {offset, static_cast<std::uint32_t>(name.size()), static_cast<std::uint32_t>(value.size())});
  return true;
}

bool FieldBlock::set(std::string_view name, std::string_view value) {
  // `value` may lie in our own arena.
  const std::string copy(value);
  remove(name);
  return add(name, copy);
}

void FieldBlock::remove(std::string_view name) {
  std::erase_if(entries_, [&](const Entry& e) {
    return std::string_view(arena_).substr(e.offset, e.name_length) == name;
  });
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

Field FieldBlock::at(std::size_t i) const {
  const Entry& e = entries_[i];
  const std::string_view all(arena_);
  return {all.substr(e.offset, e.name_length),
          all.substr(e.offset + e.name_length, e.value_length)};
}

void FieldBlock::clear() {
  arena_.clear();
  entries_.clear();
}

}  // namespace sluice::http
