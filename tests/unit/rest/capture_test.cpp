// POST /v1/capture, with workers played by the test.
#include "controlplane/capture.h"

#include <gtest/gtest.h>

#include <cstring>

#include "controlplane/rest.h"
#include "fake_gateway.h"

namespace sluice::control {
namespace {
namespace json = boost::json;
using std::chrono::seconds;

struct Block {
  std::uint32_t type;
  std::string content;  // between the two lengths
};

std::uint32_t word(std::string_view text, std::size_t at) {
  std::uint32_t value = 0;
  EXPECT_LE(at + 4, text.size());
  std::memcpy(&value, text.data() + at, 4);
  return value;
}

class CaptureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ControlOptions options;
    options.state = folder.path / "state";
    options.version = "1.2.3";
    options.unix_now = [] { return 1'800'000'000; };
    auto opened = Control::open(std::move(options), gateway);
    ASSERT_TRUE(opened) << opened.error();
    control = std::move(*opened);
    gateway.port_views.resize(2);
    gateway.port_views[0].name = "agents";
    gateway.port_views[1].name = "tools";
    for (auto& commands : gateway.commands) commands.clear();
  }
  RestResponse post(const std::string& body) {
    RestRequest request;
    request.method = "POST";
    request.target = "/v1/capture";
    request.body = body;
    return handle(*control, request);
  }
  json::object refused(const std::string& body, unsigned status = 400) {
    const RestResponse response = post(body);
    EXPECT_EQ(response.status, status) << body << " " << response.body;
    return response.body.empty() ? json::object() : json::parse(response.body).get_object();
  }
  std::shared_ptr<CaptureRun> start(const CaptureRequest& request) {
    auto run = CaptureRun::start(gateway, request, "sluice", now);
    EXPECT_TRUE(run) << run.error().detail;
    return run ? *run : nullptr;
  }
  template <typename T>
  static CaptureRequest with(T CaptureRequest::* member, T value,
                             std::vector<std::string> ports = {}) {
    CaptureRequest request;
    request.*member = value;
    request.ports = std::move(ports);
    return request;
  }
  // What worker::CaptureTap does with the command.
  runtime::Capture& begin(unsigned worker) {
    EXPECT_EQ(gateway.commands[worker].size(), 1u);
    const auto command = gateway.commands[worker].at(0);
    EXPECT_EQ(command.kind, runtime::Command::Kind::capture);
    gateway.commands[worker].clear();
    auto& loan = *static_cast<runtime::Capture*>(command.loan);
    loan.begun.store(true);
    return loan;
  }
  static void frame(runtime::Capture& loan, std::uint64_t time, std::uint16_t port = 0,
                    std::size_t length = 60) {
    const std::vector<std::uint8_t> bytes(length, 1);
    ++loan.ports[port].seen;
    ++loan.ports[port].matched;
    if (!loan.frames.push({time, static_cast<std::uint32_t>(length), port, true}, bytes)) {
      ++loan.ports[port].lost;
    }
  }
  static std::vector<Block> blocks(std::string_view file) {
    std::vector<Block> out;
    while (!file.empty()) {
      const std::uint32_t length = word(file, 4);
      EXPECT_TRUE(length >= 12 && length % 4 == 0 && length <= file.size()) << length;
      if (length < 12 || length > file.size()) break;
      EXPECT_EQ(word(file, length - 4), length);
      out.push_back({word(file, 0), std::string(file.substr(8, length - 12))});
      file.remove_prefix(length);
    }
    return out;
  }
  static std::vector<std::uint32_t> types(std::string_view file) {
    std::vector<std::uint32_t> out;
    for (const Block& block : blocks(file)) out.push_back(block.type);
    return out;
  }
  static constexpr std::uint32_t kSection = 0x0a0d0d0a, kInterface = 1, kStatistics = 5,
                                 kPacket = 6;

  TempFolder folder;
  FakeGateway gateway;
  std::unique_ptr<Control> control;
  CaptureRun::Instant now{};
};

TEST_F(CaptureTest, FramesOfAllWorkersInTheOrderOfTheirTimes) {
  const auto run = start({});
  EXPECT_EQ(run->next(now), "") << "workers do not look yet";
  runtime::Capture& first = begin(0);
  EXPECT_EQ(run->next(now), "") << "one of two does";
  runtime::Capture& second = begin(1);
  frame(first, 100, 0);
  frame(first, 300, 1, 61);
  frame(second, 200, 1);
  const auto head = run->next(now);
  ASSERT_TRUE(head);
  EXPECT_EQ(types(*head), (std::vector<std::uint32_t>{kSection, kInterface, kInterface, kPacket,
                                                      kPacket, kPacket}));
  const auto all = blocks(*head);
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(word(all[3 + i].content, 8), 100 * (i + 1));
  EXPECT_EQ(word(all[5].content, 0), 1u) << "interface";
  EXPECT_EQ(word(all[5].content, 12), 61u);
  EXPECT_EQ(run->next(now), "");
  frame(second, 400);
  EXPECT_EQ(types(*run->next(now)), (std::vector<std::uint32_t>{kPacket}));
}

TEST_F(CaptureTest, TimeIsUp) {
  const auto run = start(with(&CaptureRequest::time, seconds(10)));
  EXPECT_EQ(run->next(now), "");
  runtime::Capture &first = begin(0), &second = begin(1);
  EXPECT_FALSE(run->next(now)->empty());
  now += seconds(10);
  EXPECT_EQ(run->next(now), "") << "workers are asked to end";
  EXPECT_FALSE(first.wanted.load());
  frame(first, 1);  // just before it gives back
  first.give_back();
  EXPECT_EQ(types(*run->next(now)), (std::vector<std::uint32_t>{kPacket}));
  second.give_back();
  EXPECT_EQ(types(*run->next(now)), (std::vector<std::uint32_t>{kStatistics, kStatistics}));
  EXPECT_EQ(run->next(now), std::nullopt);
}

TEST_F(CaptureTest, AWorkerThatGivesNothingBackIsNotWaitedForForEver) {
  const auto run = start(with(&CaptureRequest::time, seconds(1)));
  EXPECT_EQ(run->next(now), "");
  begin(0);
  now += seconds(1);
  EXPECT_EQ(types(*run->next(now)), (std::vector<std::uint32_t>{kSection, kInterface, kInterface}));
  now += seconds(1);
  EXPECT_EQ(types(*run->next(now)), (std::vector<std::uint32_t>{kStatistics, kStatistics}));
  EXPECT_EQ(run->next(now), std::nullopt);
}

TEST_F(CaptureTest, BoundsArePreciseAndEndIt) {
  const auto run = start(with(&CaptureRequest::packets, std::uint64_t{2}, {"tools"}));
  run->next(now);
  runtime::Capture &first = begin(0), &second = begin(1);
  EXPECT_EQ(first.ports[0].filter, nullptr);
  ASSERT_NE(first.ports[1].filter, nullptr);
  for (std::uint64_t i = 1; i <= 3; ++i) frame(first, i, 1);
  frame(second, 9, 1);
  EXPECT_EQ(types(*run->next(now)),
            (std::vector<std::uint32_t>{kSection, kInterface, kPacket, kPacket, kStatistics}));
  EXPECT_EQ(run->next(now), std::nullopt);
  EXPECT_FALSE(first.wanted.load());
  EXPECT_FALSE(second.wanted.load());

  gateway.commands.assign(2, {});
  const auto small = start(with(&CaptureRequest::bytes, std::uint64_t{1024}));
  small->next(now);
  runtime::Capture& loan = begin(0);
  begin(1);
  for (std::uint64_t i = 0; i < 20; ++i) frame(loan, i);
  std::string file = *small->next(now);
  std::size_t statistics = 0;
  for (const Block& block : blocks(file)) {
    if (block.type == kStatistics) statistics += block.content.size() + 12;
  }
  EXPECT_LE(file.size() - statistics, std::uint64_t{1024});
  EXPECT_GT(file.size() - statistics, std::uint64_t{1024} - 108) << "one more frame does not fit";
  EXPECT_EQ(small->next(now), std::nullopt);
}

TEST_F(CaptureTest, LargeOnesComeInPieces) {
  const auto run = start(with(&CaptureRequest::packets, std::uint64_t{10'000}));
  run->next(now);
  runtime::Capture& loan = begin(0);
  begin(1);
  for (std::uint64_t i = 0; i < 2000; ++i) frame(loan, i, 0, 1514);
  std::size_t packets = 0, pieces = 0;
  for (auto piece = run->next(now); piece && !piece->empty(); piece = run->next(now)) {
    EXPECT_LE(piece->size(), 300u << 10);
    const auto seen = types(*piece);
    packets += static_cast<std::size_t>(std::ranges::count(seen, kPacket));
    ++pieces;
  }
  EXPECT_EQ(packets, 2000u);
  EXPECT_GT(pieces, 10u);
}

TEST_F(CaptureTest, StatisticsSayWhatWasLostAndWhere) {
  gateway.port_views[0].missed = 7;
  const auto run = start(with(&CaptureRequest::packets, std::uint64_t{1000}, {"agents"}));
  run->next(now);
  runtime::Capture& loan = begin(0);
  begin(1);
  gateway.port_views[0].missed = 9;
  loan.ports[0].seen = 50;
  loan.ports[0].lost = 3;
  for (int i = 0; i < 4; ++i) frame(loan, 5);
  run->next(now);
  run->finish();
  run->next(now);
  now += seconds(1);
  const auto last = blocks(*run->next(now));
  ASSERT_EQ(last.size(), 1u);
  const std::string& text = last[0].content;
  const auto option = [&](std::size_t index, std::uint32_t code) {
    EXPECT_EQ(word(text, 12 + index * 12), code | 8u << 16);
    return word(text, 16 + index * 12);
  };
  EXPECT_EQ(option(2, 4), 54u) << "isb_ifrecv";
  EXPECT_EQ(option(3, 5), std::uint64_t{2}) << "isb_ifdrop: since the capture began";
  EXPECT_EQ(option(4, 6), 4u) << "isb_filteraccept";
  EXPECT_EQ(option(5, 7), 3u) << "isb_osdrop";
  EXPECT_EQ(option(6, 8), 4u) << "isb_usrdeliv";
}

// A client that has gone takes the response with it.
TEST_F(CaptureTest, LetGoItEnds) {
  auto run = start({});
  run->next(now);
  runtime::Capture& loan = begin(0);
  run.reset();
  EXPECT_FALSE(loan.wanted.load());
}

TEST_F(CaptureTest, AFullMailboxIsTriedAgain) {
  gateway.mailbox_full = true;
  const auto run = start({});
  EXPECT_EQ(run->next(now), "");
  EXPECT_TRUE(gateway.loans.empty());
  gateway.mailbox_full = false;
  EXPECT_EQ(run->next(now), "");
  EXPECT_EQ(run->next(now), "");
  EXPECT_EQ(gateway.loans.size(), std::uint64_t{2}) << "once for each worker";
}

TEST_F(CaptureTest, OverRestOneAtATime) {
  {
    const RestResponse response = post(R"({"filter":"tcp port 443","seconds":5})");
    EXPECT_EQ(response.status, 200u) << response.body;
    EXPECT_EQ(response.content_type, "application/x-pcapng");
    ASSERT_TRUE(response.pieces);
    EXPECT_EQ(refused("{}", 409).at("code"), "capture_running");
    EXPECT_EQ(response.pieces(false), "");
    begin(0), begin(1);
    const auto head = response.pieces(false);
    ASSERT_TRUE(head);
    EXPECT_NE(head->find("sluice 1.2.3"), std::string::npos);
    EXPECT_NE(head->find("tcp port 443"), std::string::npos);
    for (const auto& loan : gateway.loans) loan->give_back();
    EXPECT_EQ(types(*response.pieces(true)),
              (std::vector<std::uint32_t>{kStatistics, kStatistics}));
    EXPECT_EQ(response.pieces(true), std::nullopt);
  }
  EXPECT_EQ(post("{}").status, 200u);
}

TEST_F(CaptureTest, BadRequestsAreNamed) {
  const auto pointer = [this](const std::string& body) {
    return std::string(refused(body).at("pointer").get_string());
  };
  EXPECT_EQ(pointer(R"({"filter":"host kb.example"})"), "/filter");
  EXPECT_EQ(pointer(R"({"filter":7})"), "/filter");
  EXPECT_EQ(pointer(R"({"ports":["tools","tool"]})"), "/ports/1");
  EXPECT_EQ(pointer(R"({"ports":[]})"), "/ports");
  EXPECT_EQ(pointer(R"({"packets":0})"), "/packets");
  EXPECT_EQ(pointer(R"({"packets":-1})"), "/packets");
  EXPECT_EQ(pointer(R"({"packets":1.5})"), "/packets");
  EXPECT_EQ(pointer(R"({"bytes":1023})"), "/bytes");
  EXPECT_EQ(pointer(R"({"seconds":3601})"), "/seconds");
  EXPECT_EQ(pointer(R"({"snap_bytes":63})"), "/snap_bytes");
  EXPECT_EQ(pointer(R"({"second":3})"), "/second");
  EXPECT_EQ(pointer("[]"), "");
  EXPECT_EQ(pointer("{"), "");
  EXPECT_TRUE(gateway.loans.empty());
}

}  // namespace
}  // namespace sluice::control
