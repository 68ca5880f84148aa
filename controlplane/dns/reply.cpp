#include "reply.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>

#include "config/formats.h"

namespace sluice::control {
namespace {

constexpr std::size_t kMaxRecords = 64;
constexpr std::size_t kHeader = 12, kRecordFixed = 10;  // RFC 1035 sections 4.1.1 and 4.1.3

DnsAnswer without_records(int status) {
  DnsAnswer answer;
  const bool told = status == ARES_ENOTFOUND || status == ARES_ENODATA;
  answer.kind = told ? DnsAnswer::Kind::none : DnsAnswer::Kind::failed;
  answer.error = status == ARES_ENOTFOUND  ? "no such name"
                 : status == ARES_ENODATA  ? "the name has no record of this type"
                 : status == ARES_ETIMEOUT ? "no server answered in time"
                                           : ares_strerror(status);
  return answer;
}

DnsAnswer unusable(std::string why) {
  DnsAnswer answer;
  answer.error = std::move(why);
  return answer;
}

// Length of the name at `at`, 0 if there is none.
std::size_t name_length(ByteSpan message, std::size_t at) {
  char* text = nullptr;
  long length = 0;
  if (at >= message.size() ||
      ares_expand_name(message.data() + at, message.data(), static_cast<int>(message.size()), &text,
                       &length) != ARES_SUCCESS) {
    return 0;
  }
  ares_free_string(text);
  return static_cast<std::size_t>(length);
}

// The shortest TTL of the answer section, aliases on the way included: c-ares does not tell that of
// SRV records.
Seconds shortest_ttl(ByteSpan message) {
  if (message.size() < kHeader) return Seconds{0};
  const std::size_t questions = load_be16(message.data() + 4);
  const std::size_t answers = load_be16(message.data() + 6);
  std::size_t at = kHeader;
  for (std::size_t i = 0; i < questions; ++i) {
    const std::size_t name = name_length(message, at);
    if (name == 0) return Seconds{0};
    at += name + 4;
  }
  std::uint32_t shortest = UINT32_MAX;
  for (std::size_t i = 0; i < answers; ++i) {
    const std::size_t name = name_length(message, at);
    if (name == 0 || at + name + kRecordFixed > message.size()) return Seconds{0};
    const std::uint8_t* fixed = message.data() + at + name;
    std::uint32_t ttl = load_be32(fixed + 4);
    if (ttl > INT32_MAX) ttl = 0;  // RFC 2181 section 8
    shortest = std::min(shortest, ttl);
    at += name + kRecordFixed + load_be16(fixed + 8);
  }
  return Seconds{answers > 0 ? shortest : 0};
}

void take_address(DnsAnswer& answer, const IpAddress& address) {
  // Never a tool's, whatever a server says.
  if (address.is_unspecified() || address.is_multicast() || address.is_broadcast() ||
      address.is_loopback() || (address.is_v6() && address.is_link_local())) {
    return;
  }
  answer.addresses.push_back(address);
}

int read_v4(DnsAnswer& answer, ByteSpan message) {
  std::array<ares_addrttl, kMaxRecords> found{};
  int count = kMaxRecords;
  const int status = ares_parse_a_reply(message.data(), static_cast<int>(message.size()), nullptr,
                                        found.data(), &count);
  if (status != ARES_SUCCESS) return status;
  for (int i = 0; i < count; ++i) {
    take_address(answer, IpAddress::v4(ntohl(found[static_cast<std::size_t>(i)].ipaddr.s_addr)));
  }
  return status;
}

int read_v6(DnsAnswer& answer, ByteSpan message) {
  std::array<ares_addr6ttl, kMaxRecords> found{};
  int count = kMaxRecords;
  const int status = ares_parse_aaaa_reply(message.data(), static_cast<int>(message.size()),
                                           nullptr, found.data(), &count);
  if (status != ARES_SUCCESS) return status;
  for (int i = 0; i < count; ++i) {
    const auto& raw = found[static_cast<std::size_t>(i)].ip6addr._S6_un._S6_u8;
    take_address(answer, IpAddress::v6(std::span<const std::uint8_t, 16>(raw)));
  }
  return status;
}

int read_services(DnsAnswer& answer, ByteSpan message) {
  ares_srv_reply* list = nullptr;
  const int status = ares_parse_srv_reply(message.data(), static_cast<int>(message.size()), &list);
  if (status != ARES_SUCCESS) return status;
  for (const ares_srv_reply* r = list; r != nullptr; r = r->next) {
    const std::string host = lower(r->host);
    // RFC 2782: a target of "." says that there is no such service. Port 0 cannot be dialled.
    if (check_host(host) || r->port == 0 || answer.targets.size() == kMaxRecords) continue;
    answer.targets.push_back({host, r->port, r->priority, r->weight});
  }
  ares_free_data(list);
  return status;
}

}  // namespace

DnsAnswer read_reply(RecordType type, int status, ByteSpan message) {
  if (status != ARES_SUCCESS) return without_records(status);
  DnsAnswer answer;
  status = type == RecordType::a      ? read_v4(answer, message)
           : type == RecordType::aaaa ? read_v6(answer, message)
                                      : read_services(answer, message);
  if (status != ARES_SUCCESS) {
    return status == ARES_ENODATA ? without_records(status)
                                  : unusable("the server's reply is not valid");
  }
  if (answer.addresses.empty() && answer.targets.empty()) {
    answer = without_records(ARES_ENODATA);
    answer.error = "the reply holds nothing that can be dialled";
    return answer;
  }
  answer.kind = DnsAnswer::Kind::records;
  answer.ttl = shortest_ttl(message);
  return answer;
}

}  // namespace sluice::control
