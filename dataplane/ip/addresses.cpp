// Our own addresses: checked before they are used (RFC 4862 section 5.4, RFC 5227 section 2.1),
// announced (RFC 5227 section 2.3, RFC 4861 section 7.2.6) and defended (RFC 5227 section 2.4).

#include <algorithm>

#include "interface_impl.h"

namespace sluice::ip {

using packet::ArpOperation;
using packet::MacAddress;

Interface::Impl::OwnAddress* Interface::Impl::own(const IpAddress& address) {
  const auto found = std::find_if(addresses.begin(), addresses.end(),
                                  [&](const OwnAddress& a) { return a.address == address; });
  return found == addresses.end() ? nullptr : &*found;
}

AddressMask Interface::Impl::mask() const {
  AddressMask m;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (addresses[i].state == AddressState::usable) m.usable |= std::uint64_t{1} << i;
    if (addresses[i].state == AddressState::duplicate) m.duplicate |= std::uint64_t{1} << i;
  }
  return m;
}

void Interface::Impl::note_states() {
  all_usable = std::all_of(addresses.begin(), addresses.end(),
                           [](const OwnAddress& a) { return a.state == AddressState::usable; });
}

// What is not in use becomes tentative, and everybody is asked for it.
void Interface::Impl::begin_check() {
  for (OwnAddress& a : addresses) {
    if (a.state == AddressState::duplicate) a.state = AddressState::tentative;
  }
  recheck_at = kNever;
  check_round = 0;
  check();
}

// IPv6 asks once per RetransTimer, one second. IPv4 asks three times meanwhile, where RFC 5227
// takes up to seven seconds: a gateway is not to be away for so long because it started anew.
void Interface::Impl::check() {
  constexpr int kArpProbes = 3;  // PROBE_NUM
  if (check_round == config.duplicate_probes * kArpProbes) {
    check_at = kNever;
    for (OwnAddress& a : addresses) {
      if (a.state == AddressState::tentative) a.state = AddressState::usable;
    }
    note_states();
    announce_round = 0;
    return announce();
  }
  // RFC 4862 section 5.4.2: membership first, or a switch that snoops keeps the answer.
  if (check_round == 0) send_group_report();
  for (const OwnAddress& a : addresses) {
    if (a.state != AddressState::tentative) continue;
    if (a.address.is_v4()) {
      send_arp(packet::kBroadcastMac,
               {ArpOperation::request, config.mac, IpAddress::v4(0), MacAddress{}, a.address});
    } else if (check_round % kArpProbes == 0) {
      send_duplicate_probe(a.address);
    }
  }
  ++check_round;
  check_at = now + kCheckStep;
}

// Somebody else speaks for the address. Before it was used it is theirs; later they are told once,
// and then not again for ten seconds (RFC 5227 section 2.4 (c): others rely on a gateway's
// address).
void Interface::Impl::claimed(OwnAddress& address) {
  counters.add(Counter::address_conflicts);
  if (address.state == AddressState::tentative) {
    address.state = AddressState::duplicate;
    // RFC 4862 section 5.4.5: our MAC address itself is there twice.
    if (made_link_local && &address == &addresses.back()) {
      for (OwnAddress& a : addresses) {
        if (a.address.is_v6()) a.state = AddressState::duplicate;
      }
    }
    note_states();
    recheck_at = std::min(recheck_at, now + kRecheckInterval);
    return;
  }
  if (defended != Time::min() && now - defended < kDefendInterval) return;
  defended = now;
  announce_address(address.address);
}

void Interface::Impl::announce_address(const IpAddress& address) {
  if (address.is_v6()) {
    send_advertisement(packet::multicast_mac(groups.front()), groups.front(), address, false);
  } else {
    send_arp(packet::kBroadcastMac,
             {ArpOperation::request, config.mac, address, MacAddress{}, address});
  }
}

// ARP twice, two seconds apart; neighbour advertisements thrice, a second apart.
void Interface::Impl::announce() {
  if (announce_round < 2) send_group_report();  // RFC 3810 section 9.14: robustness two
  for (const OwnAddress& a : addresses) {
    if (a.state != AddressState::usable || (a.address.is_v4() && announce_round == 1)) continue;
    announce_address(a.address);
  }
  ++announce_round;
  announce_at = announce_round < kAnnounceRounds ? now + kAnnounceStep : kNever;
}

void Interface::Impl::poll_addresses() {
  if (now >= recheck_at) begin_check();
  if (now >= check_at) check();
  if (now >= announce_at) announce();
}

}  // namespace sluice::ip
