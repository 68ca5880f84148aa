#include "profile.h"

#include <charconv>
#include <cstdio>
#include <optional>

namespace sluice::impair {
namespace {

constexpr std::string_view kFlagLetters = "FSRPAU";  // in the order of their bits
constexpr std::int64_t kMostMicros = 86'400'000'000;

// Cuts the text up to the first separator off; the whole of it when there is none.
std::string_view cut(std::string_view& rest, char separator) {
  const std::size_t at = rest.find(separator);
  const std::string_view head = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view{} : rest.substr(at + 1);
  return head;
}

template <typename T>
bool read_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

bool read_probability(std::string_view text, double& value) {
  return read_number(text, value) && value >= 0 && value <= 1;
}

bool read_duration(std::string_view text, Micros& value) {
  std::int64_t scale = 0, number = 0;
  for (const auto& [unit, micros] :
       {std::pair{std::string_view{"us"}, std::int64_t{1}}, {"ms", 1000}, {"s", 1'000'000}}) {
    if (!text.ends_with(unit)) continue;
    scale = micros;
    text.remove_suffix(unit.size());
    break;
  }
  if (scale == 0 || !read_number(text, number) || number < 0 || number > kMostMicros / scale) {
    return false;
  }
  value = Micros{number * scale};
  return true;
}

std::string duration_text(Micros value) {
  const std::int64_t us = value.count();
  if (us % 1'000'000 == 0) return std::to_string(us / 1'000'000) + "s";
  if (us % 1000 == 0) return std::to_string(us / 1000) + "ms";
  return std::to_string(us) + "us";
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

bool read_flags(std::string_view text, std::uint8_t& flags) {
  for (const char letter : text) {
    const std::size_t bit = kFlagLetters.find(letter);
    if (bit == std::string_view::npos) return false;
    flags = static_cast<std::uint8_t>(flags | 1u << bit);
  }
  return !text.empty();
}

std::string flags_text(std::uint8_t flags) {
  std::string text;
  for (std::size_t bit = 0; bit < kFlagLetters.size(); ++bit) {
    if (flags & 1u << bit) text += kFlagLetters[bit];
  }
  return text;
}

bool read_condition(std::string_view text, Rule& rule) {
  const std::string_view name = cut(text, '=');
  if (name == "flags") return read_flags(text, rule.flags);
  if (name == "clear") return read_flags(text, rule.clear);
  if (name == "seq") {
    const std::string_view from = cut(text, '-');
    return read_number(from, rule.seq_from) && (text.empty() || read_number(text, rule.seq_to));
  }
  if (name == "len") return read_number(text, rule.least);
  if (name == "maxlen") return read_number(text, rule.most);
  if (name == "nth") return read_number(text, rule.nth) && rule.nth > 0;
  if (name == "count") return read_number(text, rule.count) && rule.count > 0;
  return false;
}

std::optional<Rule> read_rule(std::string_view text) {
  Rule rule;
  std::string_view action = cut(text, ':');
  if (action == "drop") {
    rule.action = Rule::Action::drop;
  } else if (action == "duplicate") {
    rule.action = Rule::Action::duplicate;
  } else if (action == "corrupt") {
    rule.action = Rule::Action::corrupt;
  } else if (action.starts_with("delay=")) {
    rule.action = Rule::Action::delay;
    if (!read_duration(action.substr(6), rule.delay)) return std::nullopt;
  } else {
    return std::nullopt;
  }
  while (!text.empty()) {
    if (!read_condition(cut(text, ':'), rule)) return std::nullopt;
  }
  return rule;
}

std::string rule_text(const Rule& rule) {
  std::string text;
  switch (rule.action) {
    case Rule::Action::drop:
      text = "drop:";
      break;
    case Rule::Action::duplicate:
      text = "duplicate:";
      break;
    case Rule::Action::corrupt:
      text = "corrupt:";
      break;
    case Rule::Action::delay:
      text = "delay=" + duration_text(rule.delay) + ":";
      break;
  }
  if (rule.flags != 0) text += "flags=" + flags_text(rule.flags) + ":";
  if (rule.clear != 0) text += "clear=" + flags_text(rule.clear) + ":";
  if (rule.seq_from != 0 || rule.seq_to != UINT32_MAX) {
    text += "seq=" + std::to_string(rule.seq_from);
    if (rule.seq_to != UINT32_MAX) text += "-" + std::to_string(rule.seq_to);
    text += ":";
  }
  if (rule.least != 0) text += "len=" + std::to_string(rule.least) + ":";
  if (rule.most != SIZE_MAX) text += "maxlen=" + std::to_string(rule.most) + ":";
  if (rule.count != 1) text += "count=" + std::to_string(rule.count) + ":";
  return text + "nth=" + std::to_string(rule.nth);
}

bool read_gilbert(std::string_view text, GilbertElliott& chain) {
  if (!read_probability(cut(text, '/'), chain.to_bad)) return false;
  if (!read_probability(cut(text, '/'), chain.to_good)) return false;
  if (text.empty()) return true;
  if (!read_probability(cut(text, '/'), chain.loss_good)) return false;
  return read_probability(text, chain.loss_bad);
}

bool read_jitter(std::string_view text, Profile& profile) {
  if (!read_duration(cut(text, '/'), profile.jitter)) return false;
  if (text.empty() || text == "uniform") {
    profile.distribution = Jitter::uniform;
  } else if (text == "normal") {
    profile.distribution = Jitter::normal;
  } else if (text == "pareto") {
    profile.distribution = Jitter::pareto;
  } else {
    return false;
  }
  return true;
}

bool read_blackout(std::string_view text, Profile& profile) {
  Blackout window;
  if (!read_duration(cut(text, '+'), window.start) || !read_duration(text, window.length)) {
    return false;
  }
  profile.blackouts.push_back(window);
  return true;
}

bool read_word(std::string_view word, Profile& p) {
  if (word == "ordered") return p.ordered = true;
  if (word.find(':') != std::string_view::npos) {
    const std::optional<Rule> rule = read_rule(word);
    if (rule) p.rules.push_back(*rule);
    return rule.has_value();
  }
  const std::string_view name = cut(word, '=');
  if (name == "loss") return read_probability(word, p.loss);
  if (name == "gilbert") return read_gilbert(word, p.gilbert);
  if (name == "duplicate") return read_probability(word, p.duplicate);
  if (name == "corrupt") return read_probability(word, p.corrupt);
  if (name == "reorder") {
    const bool ok = read_probability(cut(word, '/'), p.reorder);
    return ok && (word.empty() || (read_number(word, p.reorder_by) && p.reorder_by > 0));
  }
  if (name == "delay") return read_duration(word, p.delay);
  if (name == "jitter") return read_jitter(word, p);
  if (name == "rate") return read_number(word, p.rate);
  if (name == "queue") return read_number(word, p.queue);
  if (name == "mtu") {
    const bool ok = read_number(cut(word, '/'), p.mtu);
    p.mtu_silent = word == "silent";
    return ok && (word.empty() || p.mtu_silent);
  }
  if (name == "blackout") return read_blackout(word, p);
  return false;
}

}  // namespace

std::expected<Profile, std::string> Profile::parse(std::string_view text) {
  Profile profile;
  while (!text.empty()) {
    const std::size_t end = text.find_first_of(" ,");
    const std::string_view word = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (!word.empty() && !read_word(word, profile)) {
      return std::unexpected("not an impairment: '" + std::string(word) + "'");
    }
  }
  return profile;
}

std::string Profile::text() const {
  std::string all;
  const auto add = [&all](const std::string& word) { all += (all.empty() ? "" : " ") + word; };
  const Profile none;
  if (loss != 0) add("loss=" + number_text(loss));
  if (gilbert != none.gilbert) {
    add("gilbert=" + number_text(gilbert.to_bad) + "/" + number_text(gilbert.to_good) + "/" +
        number_text(gilbert.loss_good) + "/" + number_text(gilbert.loss_bad));
  }
  if (duplicate != 0) add("duplicate=" + number_text(duplicate));
  if (corrupt != 0) add("corrupt=" + number_text(corrupt));
  if (reorder != 0) add("reorder=" + number_text(reorder) + "/" + std::to_string(reorder_by));
  if (delay != Micros{0}) add("delay=" + duration_text(delay));
  if (jitter != Micros{0}) {
    add("jitter=" + duration_text(jitter) +
        (distribution == Jitter::normal   ? "/normal"
         : distribution == Jitter::pareto ? "/pareto"
                                          : ""));
  }
  if (ordered) add("ordered");
  if (rate != 0) add("rate=" + std::to_string(rate));
  if (queue != none.queue) add("queue=" + std::to_string(queue));
  if (mtu != 0) add("mtu=" + std::to_string(mtu) + (mtu_silent ? "/silent" : ""));
  for (const Blackout& window : blackouts) {
    add("blackout=" + duration_text(window.start) + "+" + duration_text(window.length));
  }
  for (const Rule& rule : rules) add(rule_text(rule));
  return all;
}

}  // namespace sluice::impair
