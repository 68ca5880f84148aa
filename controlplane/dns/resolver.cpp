#include "controlplane/resolver.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <spdlog/spdlog.h>

#include <boost/asio.hpp>
#include <chrono>
#include <map>

#include "reply.h"

namespace sluice::control {
namespace asio = boost::asio;
namespace json = boost::json;
namespace {

// Questions on their way at once; the others wait for a place.
constexpr std::size_t kUnderWay = 256;
// Answers that arrive together become one policy.
constexpr std::chrono::milliseconds kGather{10};

Time now() {
  return Time(
      std::chrono::duration_cast<Micros>(std::chrono::steady_clock::now().time_since_epoch()));
}

int type_of(RecordType type) {
  return type == RecordType::a ? ns_t_a : type == RecordType::aaaa ? ns_t_aaaa : ns_t_srv;
}

// The form c-ares takes: address:port, IPv6 in brackets.
std::string server_text(const std::string& given) {
  const auto address = IpAddress::parse(given);
  if (!address) return given;
  return address->is_v6() ? "[" + given + "]:53" : given + ":53";
}

}  // namespace

struct Resolver::Impl : NameService, std::enable_shared_from_this<Resolver::Impl> {
  // One of c-ares's sockets in Asio's hands; c-ares stays the owner.
  struct Watch {
    Watch(asio::io_context& io, int fd) : descriptor(io, fd) {}
    asio::posix::stream_descriptor descriptor;
    bool read = false, write = false;       // what c-ares wants to hear of
    bool reading = false, writing = false;  // waits under way
  };
  struct Asked {
    std::weak_ptr<Impl> impl;
    Question question;
  };

  Impl(asio::io_context& context, Control& owner, ResolverOptions given)
      : io(context), control(owner), options(std::move(given)), table(options.limits) {}
  ~Impl() override { close(); }

  asio::io_context& io;
  Control& control;
  ResolverOptions options;
  DnsTable table;
  ares_channel channel = nullptr;
  std::map<ares_socket_t, std::shared_ptr<Watch>> watches;
  asio::steady_timer turn{io};    // of the table
  asio::steady_timer tries{io};   // of c-ares: repeats and gives up
  asio::steady_timer gather{io};  // until a new policy is made
  bool gathering = false;
  bool news = false;  // a first answer that is not in the policy yet
  bool pumping = false;

  std::expected<void, std::string> open();
  void close();

  void want(const std::vector<std::string>& hosts,
            const std::vector<std::string>& services) override;
  void refresh() override;
  bool pending() const override { return news || table.pending(); }
  bool asking() const override { return gathering || pending() || table.asking(); }
  json::array view() const override;
  DnsFigures figures() const override { return table.figures(now()); }

  void pump();
  void ask(const Question& question);
  void answered(const Question& question, int status, ByteSpan message);
  void publish_soon();
  void arm_turn();
  void arm_tries();
  void watch(ares_socket_t fd, bool read, bool write);
  void arm(ares_socket_t fd, const std::shared_ptr<Watch>& watch);
  void ready(ares_socket_t fd, const std::shared_ptr<Watch>& watch, bool read);
};

std::expected<void, std::string> Resolver::Impl::open() {
  static const int library = ares_library_init(ARES_LIB_INIT_ALL);
  if (library != ARES_SUCCESS) return std::unexpected(ares_strerror(library));
  ares_options o{};
  o.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES;
  o.timeout = static_cast<int>(options.timeout.count());
  o.tries = static_cast<int>(options.tries);
  o.sock_state_cb = [](void* self, ares_socket_t fd, int read, int write) {
    static_cast<Impl*>(self)->watch(fd, read != 0, write != 0);
  };
  o.sock_state_cb_data = this;
  if (const int status = ares_init_options(
          &channel, &o,
          ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
      status != ARES_SUCCESS) {
    return std::unexpected(ares_strerror(status));
  }
  if (options.servers.empty()) return {};
  std::string list;
  for (const auto& server : options.servers) {
    list += (list.empty() ? "" : ",") + server_text(server);
  }
  if (const int status = ares_set_servers_ports_csv(channel, list.c_str());
      status != ARES_SUCCESS) {
    return std::unexpected("servers " + list + ": " + ares_strerror(status));
  }
  return {};
}

void Resolver::Impl::close() {
  if (channel != nullptr) ares_destroy(std::exchange(channel, nullptr));
  for (auto& [fd, watch] : watches) watch->descriptor.release();
  watches.clear();
}

void Resolver::Impl::want(const std::vector<std::string>& hosts,
                          const std::vector<std::string>& services) {
  table.set_names(hosts, services, now());
  // What was known of names that come back, and nothing of those that have gone.
  publish_soon();
  pump();
}

void Resolver::Impl::refresh() {
  table.refresh(now());
  pump();
}

// Also called out of answers, which arrive inside ares_query() when a server cannot be reached at
// all: those are taken up by the loop that is already running.
void Resolver::Impl::pump() {
  if (std::exchange(pumping, true)) return;
  while (table.under_way() < kUnderWay) {
    const auto due = table.take_due(now(), kUnderWay - table.under_way());
    if (due.empty()) break;
    for (const auto& question : due) ask(question);
  }
  pumping = false;
  arm_tries();
  arm_turn();
}

void Resolver::Impl::ask(const Question& question) {
  auto asked = std::make_unique<Asked>(Asked{weak_from_this(), question});
  const auto done = [](void* context, int status, int, unsigned char* message, int size) {
    const std::unique_ptr<Asked> mine(static_cast<Asked*>(context));
    if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED) return;
    const auto impl = mine->impl.lock();
    if (!impl) return;
    impl->answered(
        mine->question, status,
        message == nullptr ? ByteSpan{} : ByteSpan{message, static_cast<std::size_t>(size)});
  };
  ares_query(channel, question.name.c_str(), ns_c_in, type_of(question.type), done,
             asked.release());
}

void Resolver::Impl::answered(const Question& question, int status, ByteSpan message) {
  auto answer = read_reply(question.type, status, message);
  const bool failed = answer.kind == DnsAnswer::Kind::failed;
  if (failed) {
    spdlog::warn("dns: {} {}: {}", question.name, to_string(question.type), answer.error);
    control.dns_event({{"name", question.name},
                       {"record", std::string(to_string(question.type))},
                       {"error", answer.error}});
  }
  news = news || table.pending();
  table.answer(question, std::move(answer), now());
  publish_soon();
  if (!pumping) pump();
}

void Resolver::Impl::publish_soon() {
  if (std::exchange(gathering, true)) return;
  gather.expires_after(kGather);
  gather.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (!self || error) return;
    self->gathering = self->news = false;
    self->control.set_resolved(self->table.resolved(now()));
  });
}

void Resolver::Impl::arm_turn() {
  const Time at = table.next(now());
  // What is due and finds no place is taken up by the next answer.
  if (at == kNever || table.under_way() >= kUnderWay) {
    turn.cancel();
    return;
  }
  turn.expires_at(std::chrono::steady_clock::time_point(at.time_since_epoch()));
  turn.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (!self || error) return;
    self->publish_soon();  // an old answer may have served its time
    self->pump();
  });
}

void Resolver::Impl::arm_tries() {
  timeval room{};
  const timeval* left = ares_timeout(channel, nullptr, &room);
  if (left == nullptr) {
    tries.cancel();
    return;
  }
  tries.expires_after(std::chrono::seconds(left->tv_sec) +
                      std::chrono::microseconds(left->tv_usec));
  tries.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (!self || error) return;
    ares_process_fd(self->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    self->arm_tries();
  });
}

void Resolver::Impl::watch(ares_socket_t fd, bool read, bool write) {
  auto found = watches.find(fd);
  if (!read && !write) {
    if (found == watches.end()) return;
    found->second->descriptor.release();  // c-ares closes it
    watches.erase(found);
    return;
  }
  if (found == watches.end()) {
    found = watches.emplace(fd, std::make_shared<Watch>(io, fd)).first;
  }
  found->second->read = read;
  found->second->write = write;
  arm(fd, found->second);
}

void Resolver::Impl::arm(ares_socket_t fd, const std::shared_ptr<Watch>& watch) {
  const auto wait = [&](asio::posix::stream_descriptor::wait_type kind, bool read) {
    watch->descriptor.async_wait(
        kind, [weak = weak_from_this(), fd, watch, read](const boost::system::error_code& error) {
          (read ? watch->reading : watch->writing) = false;
          const auto self = weak.lock();
          if (self && !error) self->ready(fd, watch, read);
        });
  };
  if (watch->read && !std::exchange(watch->reading, true)) {
    wait(asio::posix::stream_descriptor::wait_read, true);
  }
  if (watch->write && !std::exchange(watch->writing, true)) {
    wait(asio::posix::stream_descriptor::wait_write, false);
  }
}

void Resolver::Impl::ready(ares_socket_t fd, const std::shared_ptr<Watch>& watch, bool read) {
  // The number may be another socket's by now.
  const auto mine = [&] {
    const auto found = watches.find(fd);
    return found != watches.end() && found->second == watch;
  };
  if (!mine()) return;
  ares_process_fd(channel, read ? fd : ARES_SOCKET_BAD, read ? ARES_SOCKET_BAD : fd);
  arm_tries();
  if (mine()) arm(fd, watch);
}

json::array Resolver::Impl::view() const {
  static constexpr const char* kStates[] = {"unasked", "fresh", "stale", "none"};
  json::array out;
  for (const auto& v : table.view(now())) {
    json::object item{{"name", v.question.name},
                      {"record", std::string(to_string(v.question.type))},
                      {"state", kStates[static_cast<std::size_t>(v.state)]}};
    if (v.question.type == RecordType::srv) {
      json::array targets;
      for (const auto& t : v.targets) {
        targets.push_back(json::object{
            {"host", t.host}, {"port", t.port}, {"priority", t.priority}, {"weight", t.weight}});
      }
      item["targets"] = std::move(targets);
    } else {
      json::array addresses;
      for (const auto& a : v.addresses) addresses.emplace_back(a.to_string());
      item["addresses"] = std::move(addresses);
    }
    const bool has = v.state == DnsTable::State::fresh || v.state == DnsTable::State::stale;
    item["ttl_left_s"] = has ? json::value(v.ttl_left.count()) : json::value(nullptr);
    item["age_s"] = has ? json::value(v.age.count()) : json::value(nullptr);
    item["last_error"] = v.error.empty() ? json::value(nullptr) : json::value(v.error);
    out.push_back(std::move(item));
  }
  return out;
}

Resolver::Resolver(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Resolver::~Resolver() {
  try {
    impl_->control.set_name_service(nullptr);
    impl_->close();
    impl_->turn.cancel();
    impl_->tries.cancel();
    impl_->gather.cancel();
  } catch (const std::exception&) {
    // A timer that cannot be cancelled finds the resolver closed.
  }
}

std::expected<std::unique_ptr<Resolver>, std::string> Resolver::start(asio::io_context& io,
                                                                      Control& control,
                                                                      ResolverOptions options) {
  auto impl = std::make_shared<Impl>(io, control, std::move(options));
  if (auto opened = impl->open(); !opened) return std::unexpected("dns: " + opened.error());
  control.set_name_service(impl.get());
  return std::unique_ptr<Resolver>(new Resolver(std::move(impl)));
}

}  // namespace sluice::control
