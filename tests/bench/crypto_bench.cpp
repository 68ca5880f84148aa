// TLS 1.3 records, handshakes and memory: our sessions with and without the AES-GCM device, and
// OpenSSL beside them in the same run. Prints a JSON object; tests/bench/crypto makes it readable.
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "../unit/crypto/certificates.h"
#include "../unit/crypto/openssl_peer.h"
#include "crypto/contexts.h"

namespace {

using namespace sluice;
using sluice::testing::IssuedFiles;
using sluice::testing::OpensslPeer;
using sluice::testing::TestAuthority;

// CPU time of this thread: other programs on the machine do not count.
struct Clock {
  using duration = std::chrono::nanoseconds;
  static duration now() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
  }
};

constexpr int kRounds = 5;
constexpr std::size_t kRecord = 16384;
// Ciphertext made ahead of opening it: small enough for the cache, as received packets are.
constexpr std::size_t kBatch = 1u << 20;

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

struct Discard final : crypto::CiphertextSink {
  std::size_t send(ByteSpan bytes) override {
    total += bytes.size();
    return bytes.size();
  }
  std::size_t total = 0;
};

class Bench {
 public:
  Bench() {
    p256_ = authority_.issue("server", {});
    contexts_ = std::move(*crypto::ServerContexts::load({{"server", p256_.chain, p256_.key}}));
  }

  // Contenders take turns within each round, so that a noisy machine is noisy for all of them.
  void run() {
    for (int round = 0; round < kRounds; ++round) {
      crypto::enable_device(false);
      records("wolfssl", 8u << 20);
      crypto::enable_device(true);
      records("sluice", 128u << 20);
      openssl_records(128u << 20);
      handshakes("sluice", false);
      handshakes("openssl", true);
      note("sluice", "idle_session_bytes", idle_session());
      note("openssl", "idle_session_bytes", idle_openssl());
    }
    print();
  }

 private:
  struct Figure {
    std::string contender, name;
    std::vector<double> values;
  };
  void note(const std::string& contender, const std::string& name, double value) {
    for (Figure& figure : figures_) {
      if (figure.contender == contender && figure.name == name) {
        figure.values.push_back(value);
        return;
      }
    }
    figures_.push_back({contender, name, {value}});
  }
  void print() const {
    std::printf("{\"device\": \"%s\", \"contenders\": {", crypto::initialise().c_str());
    const char* before = "";
    for (const char* contender : {"wolfssl", "sluice", "openssl"}) {
      std::printf("%s\"%s\": {", before, contender);
      before = "";
      for (const Figure& figure : figures_) {
        if (figure.contender != contender) continue;
        std::printf("%s\"%s\": %.6g", before, figure.name.c_str(), median(figure.values));
        before = ", ";
      }
      std::printf("}");
      before = ", ";
    }
    std::printf("}}\n");
  }

  OpensslPeer::Options client(const char* cipher, const char* group = "X25519") const {
    OpensslPeer::Options options;
    options.ciphers13 = cipher;
    options.groups = group;
    options.server_name = "kb.tools.example";
    return options;
  }
  OpensslPeer::Options server() const {
    OpensslPeer::Options options;
    options.server = true;
    options.chain = p256_.chain;
    options.key = p256_.key;
    return options;
  }

  static constexpr struct {
    const char* name;
    const char* cipher;
  } kCiphers[] = {{"aes128gcm", "TLS_AES_128_GCM_SHA256"}, {"aes256gcm", "TLS_AES_256_GCM_SHA384"}};

  void records(const char* contender, std::size_t total) {
    for (const auto& c : kCiphers) {
      for (const std::size_t record : {kRecord, std::size_t{1024}}) {
        const std::string suffix = record == kRecord ? "_gb_per_s" : "_1k_gb_per_s";
        const std::size_t bytes = record == kRecord ? total : total / 4;
        note(contender, c.name + ("_seal" + suffix), seal(c.cipher, bytes, record));
        note(contender, c.name + ("_open" + suffix), open(c.cipher, bytes, record));
      }
    }
  }

  double seal(const char* cipher, std::size_t total, std::size_t record) {
    auto session = contexts_->make_session("server");
    OpensslPeer peer(client(cipher));
    peer.exchange(*session);
    Discard sink;
    session->set_sink(&sink);
    const std::vector<std::uint8_t> plain(record, 'p');
    const auto start = Clock::now();
    for (std::size_t done = 0; done < total; done += record) session->write(plain);
    const double rate = static_cast<double>(total) / seconds(Clock::now() - start) / 1e9;
    session->set_sink(nullptr);
    if (sink.total < total) std::abort();
    return rate;
  }

  // What the peer sealed, kBatch at a time.
  static std::string sealed_by(OpensslPeer& peer, std::size_t total, std::size_t record) {
    const std::string plain(record, 'p');
    for (std::size_t done = 0; done < total; done += record) peer.write(plain);
    char* data = nullptr;
    const long size = BIO_get_mem_data(SSL_get_wbio(peer.ssl()), &data);
    std::string wire(data, static_cast<std::size_t>(size));
    BIO_reset(SSL_get_wbio(peer.ssl()));
    return wire;
  }

  double open(const char* cipher, std::size_t total, std::size_t record) {
    auto session = contexts_->make_session("server");
    OpensslPeer peer(client(cipher));
    peer.exchange(*session);
    std::vector<std::uint8_t> room(kRecord);
    std::size_t opened_bytes = 0;
    Clock::duration spent{};
    while (opened_bytes < total) {
      const std::string wire = sealed_by(peer, std::min<std::size_t>(total, kBatch), record);
      ByteSpan rest = as_bytes(wire);
      const auto start = Clock::now();
      while (!rest.empty()) {
        const auto opened = session->open(rest, room);
        if (opened.consumed == 0 && opened.produced == 0) std::abort();
        rest = rest.subspan(opened.consumed);
        opened_bytes += opened.produced;
      }
      spent += Clock::now() - start;
    }
    return static_cast<double>(opened_bytes) / seconds(spent) / 1e9;
  }

  void openssl_records(std::size_t total) {
    for (const auto& c : kCiphers) {
      for (const std::size_t record : {kRecord, std::size_t{1024}}) {
        const std::string suffix = record == kRecord ? "_gb_per_s" : "_1k_gb_per_s";
        const std::size_t bytes = record == kRecord ? total : total / 4;
        note("openssl", c.name + ("_seal" + suffix), openssl_seal(c.cipher, bytes, record));
        note("openssl", c.name + ("_open" + suffix), openssl_open(c.cipher, bytes, record));
      }
    }
  }

  double openssl_seal(const char* cipher, std::size_t total, std::size_t record) {
    auto session = contexts_->make_session("server");
    OpensslPeer peer(client(cipher));
    peer.exchange(*session);
    SSL_set0_wbio(peer.ssl(), BIO_new(BIO_s_null()));
    const std::string plain(record, 'p');
    const auto start = Clock::now();
    for (std::size_t done = 0; done < total; done += record) peer.write(plain);
    return static_cast<double>(total) / seconds(Clock::now() - start) / 1e9;
  }

  double openssl_open(const char* cipher, std::size_t total, std::size_t record) {
    auto session = contexts_->make_session("server");
    OpensslPeer peer(client(cipher));
    peer.exchange(*session);
    std::string wire;
    const std::vector<std::uint8_t> plain(record, 'p');
    std::vector<char> room(kRecord);
    std::size_t opened = 0;
    Clock::duration spent{};
    while (opened < total) {
      wire.clear();
      while (wire.size() < std::min<std::size_t>(total, kBatch)) {
        session->write(plain);
        wire += as_text(session->pending_output());
        session->consume_output(session->pending_output().size());
      }
      BIO* bio = BIO_new_mem_buf(wire.data(), static_cast<int>(wire.size()));
      BIO_set_mem_eof_return(bio, -1);  // the end of the buffer is not the end of the stream
      SSL_set0_rbio(peer.ssl(), bio);
      const auto start = Clock::now();
      for (int n = 0; (n = SSL_read(peer.ssl(), room.data(), kRecord)) > 0;) {
        opened += static_cast<std::size_t>(n);
      }
      spent += Clock::now() - start;
      if (opened == 0) std::abort();
    }
    return static_cast<double>(opened) / seconds(spent) / 1e9;
  }

  void handshakes(const char* contender, bool openssl) {
    for (const char* group : {"X25519", "P-256"}) {
      for (const bool resumed : {false, true}) {
        const std::string name = std::string(group[0] == 'X' ? "x25519" : "p256") +
                                 (resumed ? "_resumed" : "_full") + "_handshakes_per_s";
        note(contender, name,
             openssl ? openssl_handshakes(group, resumed) : our_handshakes(group, resumed));
      }
    }
  }

  // Server side only: the client's time is not counted.
  double our_handshakes(const char* group, bool resumed) {
    constexpr int kCount = 100;
    auto options = client("TLS_AES_128_GCM_SHA256", group);
    OpensslPeer first(options);
    auto warm = contexts_->make_session("server");
    first.exchange(*warm);
    if (resumed) options.resume = first.session();
    Clock::duration spent{};
    for (int i = 0; i < kCount; ++i) {
      OpensslPeer peer(first, options);
      SSL_do_handshake(peer.ssl());
      const auto start = Clock::now();
      auto session = contexts_->make_session("server");
      pump(peer, *session);
      spent += Clock::now() - start;
      SSL_do_handshake(peer.ssl());
      const auto again = Clock::now();
      pump(peer, *session);
      const bool good = session->handshake_done() && session->resumed() == resumed;
      session.reset();
      spent += Clock::now() - again;
      if (!good) std::abort();
    }
    if (options.resume != nullptr) SSL_SESSION_free(options.resume);
    return kCount / seconds(spent);
  }

  static void pump(OpensslPeer& peer, crypto::Session& session) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(SSL_get_wbio(peer.ssl()), &data);
    session.feed({reinterpret_cast<const std::uint8_t*>(data), static_cast<std::size_t>(size)});
    BIO_reset(SSL_get_wbio(peer.ssl()));
    session.handshake();
    const ByteSpan out = session.pending_output();
    BIO_write(SSL_get_rbio(peer.ssl()), out.data(), static_cast<int>(out.size()));
    session.consume_output(out.size());
  }

  static void cross(SSL* from, SSL* to) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(SSL_get_wbio(from), &data);
    BIO_write(SSL_get_rbio(to), data, static_cast<int>(size));
    BIO_reset(SSL_get_wbio(from));
  }

  double openssl_handshakes(const char* group, bool resumed) {
    constexpr int kCount = 100;
    auto options = client("TLS_AES_128_GCM_SHA256", group);
    auto server_options = server();
    OpensslPeer first_client(options), first_server(server_options);
    handshake(first_client, first_server, nullptr);
    if (resumed) options.resume = first_client.session();
    Clock::duration spent{};
    for (int i = 0; i < kCount; ++i) {
      OpensslPeer peer(first_client, options);
      SSL_do_handshake(peer.ssl());
      const auto start = Clock::now();
      auto one = std::make_unique<OpensslPeer>(first_server, server_options);
      spent += Clock::now() - start;
      handshake(peer, *one, &spent);
      if ((SSL_session_reused(one->ssl()) == 1) != resumed) std::abort();
      const auto end = Clock::now();
      one.reset();
      spent += Clock::now() - end;
    }
    if (options.resume != nullptr) SSL_SESSION_free(options.resume);
    return kCount / seconds(spent);
  }

  static void handshake(OpensslPeer& client, OpensslPeer& server, Clock::duration* spent) {
    for (int i = 0; i < 3; ++i) {
      SSL_do_handshake(client.ssl());
      cross(client.ssl(), server.ssl());
      const auto start = Clock::now();
      SSL_do_handshake(server.ssl());
      if (spent != nullptr) *spent += Clock::now() - start;
      cross(server.ssl(), client.ssl());
    }
    char byte = 0;
    SSL_read(client.ssl(), &byte, 1);  // takes the tickets in
  }

  static double heap() {
    const auto info = mallinfo2();
    return static_cast<double>(info.uordblks + info.hblkhd);
  }

  double idle_session() {
    constexpr int kCount = 200;
    std::vector<std::unique_ptr<crypto::Session>> sessions;
    sessions.reserve(kCount);
    OpensslPeer context(client("TLS_AES_128_GCM_SHA256"));
    const double before = heap();
    for (int i = 0; i < kCount; ++i) {
      auto session = contexts_->make_session("server");
      OpensslPeer peer(context, client("TLS_AES_128_GCM_SHA256"));
      peer.exchange(*session);
      peer.write("one request");
      session->write(as_bytes(std::string(5000, 'r')));
      peer.exchange(*session);
      sessions.push_back(std::move(session));
    }
    return (heap() - before) / kCount;
  }

  double idle_openssl() {
    constexpr int kCount = 200;
    std::vector<std::unique_ptr<OpensslPeer>> servers;
    servers.reserve(kCount);
    auto options = client("TLS_AES_128_GCM_SHA256");
    OpensslPeer context(options);
    OpensslPeer base(server());
    const double before = heap();
    for (int i = 0; i < kCount; ++i) {
      auto one = std::make_unique<OpensslPeer>(base, server());
      SSL_set_mode(one->ssl(), SSL_MODE_RELEASE_BUFFERS);
      OpensslPeer peer(context, options);
      handshake(peer, *one, nullptr);
      peer.write("one request");
      cross(peer.ssl(), one->ssl());
      char room[64];
      SSL_read(one->ssl(), room, sizeof(room));
      SSL_read(one->ssl(), room, sizeof(room));
      servers.push_back(std::move(one));
    }
    return (heap() - before) / kCount;
  }

  TestAuthority authority_;
  IssuedFiles p256_;
  std::unique_ptr<crypto::ServerContexts> contexts_;
  std::vector<Figure> figures_;
};

}  // namespace

int main() {
  crypto::initialise();
  Bench().run();
  return 0;
}
