#include "line.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

#include "packet_view.h"

namespace sluice::impair {
namespace {

constexpr std::size_t kMostFlows = 1u << 20;
constexpr Micros kQuietTime{100'000};
constexpr Micros kHoldTime{10'000};  // of a packet that no other went past, beside the delay

bool matches(const Rule& rule, const SegmentView& s, std::optional<std::uint32_t> origin) {
  if ((s.flags & rule.flags) != rule.flags || (s.flags & rule.clear) != 0) return false;
  if (s.payload < rule.least || s.payload > rule.most) return false;
  if (rule.seq_from == 0 && rule.seq_to == UINT32_MAX) return true;
  if (!origin) return false;
  const std::uint32_t relative = s.seq - *origin;
  return relative >= rule.seq_from && relative <= rule.seq_to;
}

// Time that `bytes` take at `rate` bytes per second, rounded up: a rate is never exceeded.
Micros serialization(std::size_t bytes, std::uint64_t rate) {
  return Micros{static_cast<std::int64_t>((bytes * std::uint64_t{1'000'000} + rate - 1) / rate)};
}

std::uint64_t payload_of(ByteSpan packet) {
  const std::optional<SegmentView> segment = view_segment(packet);
  return segment ? segment->payload : 0;
}

}  // namespace

Line::Line(const Profile& profile, std::uint64_t seed, Time start, std::size_t link_header)
    : profile_(profile),
      start_(start),
      link_header_(link_header),
      loss_(seed, 1),
      burst_(seed, 2),
      duplicate_(seed, 3),
      corrupt_(seed, 4),
      reorder_(seed, 5),
      jitter_(seed, 6),
      matches_(profile.rules.size()) {}

bool Line::blacked_out(Time now) const {
  return std::any_of(profile_.blackouts.begin(), profile_.blackouts.end(), [&](const Blackout& b) {
    return now >= start_ + b.start && now < start_ + b.start + b.length;
  });
}

Line::Verdict Line::apply_rules(ByteSpan packet) {
  Verdict verdict;
  if (profile_.rules.empty()) return verdict;
  const std::optional<SegmentView> segment = view_segment(packet);
  if (!segment) return verdict;
  if ((segment->flags & kSyn) && (origins_.size() < kMostFlows || origins_.contains(segment->flow)))
    origins_[segment->flow] = segment->seq;
  std::optional<std::uint32_t> origin;
  if (const auto known = origins_.find(segment->flow); known != origins_.end())
    origin = known->second;
  for (std::size_t i = 0; i < profile_.rules.size(); ++i) {
    const Rule& rule = profile_.rules[i];
    if (!matches(rule, *segment, origin)) continue;
    const std::uint32_t number = ++matches_[i];
    if (number < rule.nth || number - rule.nth >= rule.count) continue;
    switch (rule.action) {
      case Rule::Action::drop:
        verdict.drop = true;
        break;
      case Rule::Action::duplicate:
        verdict.duplicate = true;
        break;
      case Rule::Action::corrupt:
        verdict.corrupt = true;
        break;
      case Rule::Action::delay:
        verdict.delay += rule.delay;
        break;
    }
  }
  return verdict;
}

// The burst chain moves with each packet, lost or not.
bool Line::lost(Time now) {
  const GilbertElliott& g = profile_.gilbert;
  bool burst = false;
  if (g.to_bad > 0 || g.loss_good > 0) {
    if (now - last_packet_ >= kQuietTime) bad_ = false;
    last_packet_ = now;
    bad_ = bad_ ? !burst_.chance(g.to_good) : burst_.chance(g.to_bad);
    burst = burst_.chance(bad_ ? g.loss_bad : g.loss_good);
  }
  const bool single = profile_.loss > 0 && loss_.chance(profile_.loss);
  stats_.loss += single;
  stats_.burst += burst && !single;
  return single || burst;
}

// False when the queue before the bottleneck is full.
bool Line::enqueue(std::size_t bytes, Time now, Time& leaves) {
  leaves = now;
  if (profile_.rate == 0) return true;
  const Time begins = std::max(line_free_, now);
  const Micros wait = begins - now;
  const std::uint64_t waiting =
      static_cast<std::uint64_t>(wait.count()) * profile_.rate / 1'000'000;
  if (wait > Micros{0} && waiting + bytes > profile_.queue) return false;
  leaves = line_free_ = begins + serialization(bytes, profile_.rate);
  return true;
}

Micros Line::jitter() {
  const auto j = static_cast<std::uint64_t>(profile_.jitter.count());
  if (j == 0) return Micros{0};
  std::uint64_t extra = 0;
  switch (profile_.distribution) {
    case Jitter::uniform:
      extra = jitter_.between(0, j);
      break;
    case Jitter::normal:
      for (int i = 0; i < 12; ++i) extra += jitter_.between(0, j);
      extra /= 6;
      break;
    case Jitter::pareto: {
      const int octave = std::min(std::countr_zero(jitter_.next()), 6);
      extra = octave == 0 ? jitter_.between(0, j)
                          : (j << (octave - 1)) + jitter_.below(j << (octave - 1));
      break;
    }
  }
  return Micros{static_cast<std::int64_t>(extra)};
}

void Line::corrupt(Bytes& packet) {
  const std::uint64_t bit = corrupt_.below((packet.size() - link_header_) * 8);
  packet[link_header_ + bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
}

std::optional<Bytes> Line::push(ByteSpan frame, Time now) {
  ++stats_.offered;
  release(now);
  const ByteSpan link = frame.first(std::min(link_header_, frame.size()));
  const ByteSpan packet = frame.subspan(link.size());
  if (blacked_out(now)) {
    ++stats_.blackout;
    stats_.lost_payload += payload_of(packet);
    return std::nullopt;
  }
  if (ip_version(packet) == 0) {
    pass({frame.begin(), frame.end()}, now);
    return std::nullopt;
  }
  const Verdict verdict = apply_rules(packet);
  stats_.rule += verdict.drop;
  if (verdict.drop || lost(now)) {
    stats_.lost_payload += payload_of(packet);
    return std::nullopt;
  }
  if (profile_.mtu == 0 || packet.size() <= profile_.mtu) {
    transmit({frame.begin(), frame.end()}, verdict, now);
    return std::nullopt;
  }
  if (dont_fragment(packet)) return refuse(link, packet);
  ++stats_.fragmented;
  for (Bytes& piece : fragment(packet, profile_.mtu)) {
    piece.insert(piece.begin(), link.begin(), link.end());
    transmit(std::move(piece), verdict, now);
  }
  return std::nullopt;
}

// The answer to a packet that does not fit.
std::optional<Bytes> Line::refuse(ByteSpan link, ByteSpan packet) {
  ++stats_.too_big;
  stats_.lost_payload += payload_of(packet);
  if (profile_.mtu_silent) return std::nullopt;
  Bytes error = packet_too_big(packet, profile_.mtu);
  if (error.empty()) return std::nullopt;
  error.insert(error.begin(), link.begin(), link.end());
  // Back to the Ethernet address it came from.
  if (link.size() >= 12) std::swap_ranges(error.begin(), error.begin() + 6, error.begin() + 6);
  return error;
}

void Line::transmit(Bytes frame, const Verdict& verdict, Time now) {
  Time leaves;
  if (!enqueue(frame.size(), now, leaves)) {
    ++stats_.queue_full;
    stats_.lost_payload += payload_of(ByteSpan{frame}.subspan(link_header_));
    return;
  }
  const bool twice =
      verdict.duplicate || (profile_.duplicate > 0 && duplicate_.chance(profile_.duplicate));
  const Bytes copy = twice ? frame : Bytes{};
  if (verdict.corrupt || (profile_.corrupt > 0 && corrupt_.chance(profile_.corrupt))) {
    ++stats_.corrupted;
    if (!twice) stats_.lost_payload += payload_of(ByteSpan{frame}.subspan(link_header_));
    corrupt(frame);
  }
  send_on(std::move(frame), leaves, verdict.delay, true);
  if (twice) {
    ++stats_.duplicated;
    send_on(copy, leaves, verdict.delay, false);
  }
}

void Line::pass(Bytes packet, Time now) { fly(std::move(packet), now + profile_.delay); }

void Line::send_on(Bytes packet, Time now, Micros extra, bool may_hold) {
  if (may_hold && profile_.reorder > 0 && reorder_.chance(profile_.reorder)) {
    ++stats_.reordered;
    const Time latest = now + profile_.delay + kHoldTime;
    held_.push_back({std::move(packet), profile_.reorder_by, latest});
    return;
  }
  Time at = now + profile_.delay + jitter();
  if (profile_.ordered) at = last_arrival_ = std::max(at, last_arrival_);
  at += extra;
  fly(std::move(packet), at);
  // Those held back follow the last of the packets they waited for.
  for (Held& held : held_) --held.behind;
  for (auto held = held_.begin(); held != held_.end();) {
    if (held->behind > 0) {
      ++held;
      continue;
    }
    fly(std::move(held->packet), at);
    held = held_.erase(held);
  }
}

void Line::fly(Bytes packet, Time at) {
  flying_.push_back({at, order_++, std::move(packet)});
  std::push_heap(flying_.begin(), flying_.end(), std::greater{});
}

void Line::release(Time now) {
  while (!held_.empty() && held_.front().latest <= now) {
    fly(std::move(held_.front().packet), held_.front().latest);
    held_.pop_front();
  }
}

Time Line::next() const {
  const Time next = flying_.empty() ? kNever : flying_.front().at;
  return held_.empty() ? next : std::min(next, held_.front().latest);
}

std::optional<Bytes> Line::pop(Time now) {
  release(now);
  if (flying_.empty() || flying_.front().at > now) return std::nullopt;
  std::pop_heap(flying_.begin(), flying_.end(), std::greater{});
  Bytes packet = std::move(flying_.back().packet);
  flying_.pop_back();
  ++stats_.delivered;
  return packet;
}

Link::Link(const Profile& from_0, const Profile& from_1, std::uint64_t seed, Time start,
           std::size_t link_header)
    : lines_{Line{from_0, seed * 2, start, link_header},
             Line{from_1, seed * 2 + 1, start, link_header}} {}

void Link::push(unsigned from, ByteSpan packet, Time now) {
  if (std::optional<Bytes> answer = lines_[from].push(packet, now)) {
    lines_[1 - from].pass(std::move(*answer), now);
  }
}

Time Link::next() const { return std::min(lines_[0].next(), lines_[1].next()); }

}  // namespace sluice::impair
