// Large segments: what a port cuts into segments itself (TCP segmentation offload). Each piece has
// its own record, as if it had been sent alone: one that is lost is found and sent again alone.

#include <algorithm>

#include "impl.h"

namespace sluice::tcp {

std::uint32_t Stack::Impl::send_large(Pcb& p, const LargeLimit& limit, std::uint32_t mss,
                                      std::uint32_t most) {
  // The header is repeated in each piece: reports of what came here would be, too.
  if (p.snd_nxt != p.snd_max || p.dsack || p.has_overtaken()) return 0;
  Outgoing o = header_of(p, p.snd_nxt, kAck);
  const std::size_t header = o.header_length();
  // The sender's silly window avoidance cuts otherwise where the peer's buffer is so small.
  if (limit.segment <= header || p.max_snd_wnd < 2 * mss) return 0;
  const auto piece =
      std::min<std::uint32_t>(mss, static_cast<std::uint32_t>(limit.segment - header));
  const Seq edge = p.snd_una + p.snd_wnd;
  const std::uint32_t in_flight = p.sent.in_flight();
  if (edge <= p.snd_nxt || p.congestion.window() <= in_flight) return 0;
  const std::uint32_t unsent = distance(p.snd_nxt, p.data_end());
  // The last segment, which may carry the FIN, goes alone.
  const std::uint32_t room =
      std::min({p.fin_queued ? unsent - 1 : unsent, distance(p.snd_nxt, edge),
                p.congestion.window() - in_flight, static_cast<std::uint32_t>(limit.text)});
  std::uint32_t pieces = std::min(room / piece, most);
  if (pieces < 2) return 0;
  if (!room_for_record(p, pieces)) {
    pieces = static_cast<std::uint32_t>(std::min<std::size_t>(pieces, p.sent.spare()));
  }
  if (pieces < 2) return 0;

  const std::uint32_t length = pieces * piece;
  if (length == unsent) o.flags |= kPsh;
  const Seq edge_before = p.rcv_edge;
  o.window = advertise(p);
  const GatherRoom parts = sink.reserve_large(p.key.local, p.key.remote, header, piece, pieces);
  if (!parts) {
    p.rcv_edge = edge_before;
    return 0;
  }
  write_header(o, parts.head);
  std::size_t offset = distance(p.snd_base, p.snd_nxt);
  for (const MutByteSpan part : parts.rest) {
    p.send.copy_out(offset, part);
    offset += part.size();
  }
  sink.commit();
  stats.tcp_out_segs += pieces;
  stats.tcp_data_octets_out += length;
  for (std::uint32_t i = 0; i < pieces; ++i) {
    count_sent(p, piece, false);
    record_new(p, static_cast<std::uint16_t>(piece));
  }
  sent_data(p, true);
  return pieces;
}

}  // namespace sluice::tcp
