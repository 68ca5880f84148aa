#include "capture_filter.h"

#include <arpa/inet.h>
#include <pcap/pcap.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <span>
#include <string_view>

namespace sluice::control {
namespace {

// What a filter may say in words. Not among them: `gateway` needs names, `protochain` makes loops,
// and what only other links than Ethernet have.
constexpr std::string_view kWords[] = {"and",
                                       "arp",
                                       "broadcast",
                                       "byte",
                                       "carp",
                                       "dst",
                                       "ether",
                                       "greater",
                                       "host",
                                       "icmp",
                                       "icmp6",
                                       "icmp6code",
                                       "icmp6type",
                                       "icmpcode",
                                       "icmptype",
                                       "igmp",
                                       "ip",
                                       "ip6",
                                       "len",
                                       "length",
                                       "less",
                                       "link",
                                       "mask",
                                       "mpls",
                                       "multicast",
                                       "net",
                                       "not",
                                       "or",
                                       "pim",
                                       "port",
                                       "portrange",
                                       "pppoed",
                                       "pppoes",
                                       "proto",
                                       "rarp",
                                       "sctp",
                                       "src",
                                       "tcp",
                                       "tcp-ack",
                                       "tcp-cwr",
                                       "tcp-ece",
                                       "tcp-fin",
                                       "tcp-push",
                                       "tcp-rst",
                                       "tcp-syn",
                                       "tcp-urg",
                                       "tcpflags",
                                       "udp",
                                       "vlan",
                                       "vrrp",
                                       "ah",
                                       "esp",
                                       "icmp-echo",
                                       "icmp-echoreply",
                                       "icmp-unreach",
                                       "icmp-timxceed",
                                       "icmp-redirect",
                                       "icmp-paramprob"};
constexpr std::string_view kSigns = " ()[]!&|<>=+*/^%";

bool is_word_sign(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == ':' || c == '-';
}
bool digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}
bool hex_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdefABCDEF") == text.npos;
}

std::size_t parts(std::string_view text, char separator, const auto& good) {
  std::size_t count = 0;
  while (true) {
    const auto at = text.find(separator);
    if (!good(text.substr(0, at))) return 0;
    ++count;
    if (at == text.npos) return count;
    text.remove_prefix(at + 1);
  }
}

// Whether libpcap reads it as a number or an address, whatever stands around it.
bool is_number(std::string_view text) {
  const auto octet = [](std::string_view part) {
    unsigned value = 256;
    std::from_chars(part.data(), part.data() + part.size(), value);
    return digits(part) && part.size() <= 3 && value <= 255;
  };
  const auto hex_octet = [](std::string_view part) { return hex_digits(part) && part.size() <= 2; };
  if (digits(text)) return true;
  if (text.starts_with("0x")) return hex_digits(text.substr(2));
  if (const auto dotted = parts(text, '.', octet); dotted >= 2 && dotted <= 4) return true;
  if (parts(text, ':', hex_octet) == 6) return true;                                // a MAC address
  if (parts(text, ':', digits) == 2 || parts(text, '-', digits) == 2) return true;  // [2:4], 1-99
  in6_addr v6{};
  return text.size() < INET6_ADDRSTRLEN &&
         ::inet_pton(AF_INET6, std::string(text).c_str(), &v6) == 1;
}

std::optional<std::string> refusal(std::string_view text) {
  if (text.size() > kLongestFilter) {
    return "expected at most " + std::to_string(kLongestFilter) + " characters";
  }
  while (!text.empty()) {
    const auto end =
        static_cast<std::size_t>(std::ranges::find_if_not(text, is_word_sign) - text.begin());
    const std::string_view word = text.substr(0, end);
    if (word.empty()) {
      const char c = text.front();
      const bool printable = c > ' ' && c < 0x7f;
      if (kSigns.find(c) == kSigns.npos) {
        return printable ? std::string("'") + c + "' has no meaning here"
                         : std::string("a character that is none of ASCII's printable ones");
      }
      text.remove_prefix(1);
      continue;
    }
    const bool known = std::ranges::find(kWords, word) != std::end(kWords);
    if (!known && word != "-" && !is_number(word)) {
      return "\"" + std::string(word) +
             "\": neither a word of pcap-filter(7) that is allowed here, " +
             "nor a number or an address; names are not looked up";
    }
    text.remove_prefix(end);
  }
  return std::nullopt;
}

class PcapFilter final : public runtime::FrameFilter {
 public:
  PcapFilter() = default;
  PcapFilter(const PcapFilter&) = delete;
  PcapFilter& operator=(const PcapFilter&) = delete;
  ~PcapFilter() override { ::pcap_freecode(&program_); }

  std::optional<std::string> compile(const std::string& text) {
    const std::unique_ptr<pcap_t, decltype(&::pcap_close)> dead(
        ::pcap_open_dead(DLT_EN10MB, runtime::Capture::kLongest), ::pcap_close);
    if (dead == nullptr) return "no memory";
    if (::pcap_compile(dead.get(), &program_, text.c_str(), 1, PCAP_NETMASK_UNKNOWN) != 0) {
      return ::pcap_geterr(dead.get());
    }
    // A jump without condition is the only one that could go back.
    const std::span<const bpf_insn> steps(program_.bf_insns, program_.bf_len);
    const bool back = std::ranges::any_of(steps, [](const bpf_insn& step) {
      return step.code == (BPF_JMP | BPF_JA) && step.k >= kLargestFilter;
    });
    if (steps.size() > kLargestFilter || back) return "compiles to more than a worker may run";
    return std::nullopt;
  }
  bool matches(ByteSpan frame, std::size_t wire_length) const noexcept override {
    return ::bpf_filter(program_.bf_insns, frame.data(), static_cast<unsigned>(wire_length),
                        static_cast<unsigned>(frame.size())) != 0;
  }

 private:
  bpf_program program_{};
};

}  // namespace

std::expected<std::shared_ptr<const runtime::FrameFilter>, std::string> compile_filter(
    const std::string& text, bool tagged) {
  if (auto why = refusal(text)) return std::unexpected(std::move(*why));
  auto filter = std::make_shared<PcapFilter>();
  // Alone first: in parentheses it could end where it should not.
  if (auto why = filter->compile(text)) return std::unexpected(std::move(*why));
  if (!tagged || text.find_first_not_of(' ') == text.npos) return filter;
  filter = std::make_shared<PcapFilter>();
  // After `vlan` every offset is one tag further.
  if (auto why = filter->compile("(not ether proto 0x8100 and (" + text + ")) or (vlan and (" +
                                 text + "))")) {
    return std::unexpected(std::move(*why));
  }
  return filter;
}

}  // namespace sluice::control
