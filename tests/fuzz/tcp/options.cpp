// TCP options from anywhere: read within bounds, and what was understood survives writing and
// reading again.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "wire.h"

namespace {

using namespace sluice;
using namespace sluice::tcp;

void require(bool holds) {
  if (!holds) std::abort();
}

void write_and_read(const Options& options) {
  Outgoing out;
  out.options = options;
  if (out.options_length() > kMaxOptions) return;
  std::vector<std::uint8_t> bytes(out.header_length());
  write_header(out, bytes);
  const auto view = packet::TcpView::parse(bytes);
  require(view.has_value());
  Segment s;
  require(read_segment(*view, IpAddress{}, IpAddress{}, s));
  const Options& o = s.options;
  require(o.has_mss == options.has_mss && o.mss == options.mss);
  require(o.has_window_scale == options.has_window_scale);
  require(o.window_scale == options.window_scale);
  require(o.sack_permitted == options.sack_permitted);
  require(o.has_timestamps == options.has_timestamps);
  require(o.timestamp == options.timestamp && o.timestamp_echo == options.timestamp_echo);
  require(o.sack_count == options.sack_count);
  for (std::size_t i = 0; i < o.sack_count; ++i) require(o.sack[i] == options.sack[i]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto exact = std::make_unique<std::uint8_t[]>(size);
  std::copy(data, data + size, exact.get());
  Options options;
  parse_options({exact.get(), size}, options);
  require(options.sack_count <= 4 && options.window_scale <= 14);
  write_and_read(options);
  // The same bytes as a whole segment.
  const auto view = packet::TcpView::parse({exact.get(), size});
  if (view) {
    Segment s;
    read_segment(*view, IpAddress{}, IpAddress{}, s);
    require(view->header_length() + s.payload.size() == size);
    write_and_read(s.options);
  }
  return 0;
}
