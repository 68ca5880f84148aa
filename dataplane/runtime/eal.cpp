#include "runtime/eal.h"

#include <fcntl.h>
#include <pthread.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <mutex>

#include "runtime/preflight.h"
#include "text.h"

namespace sluice::runtime {
namespace {

constexpr std::size_t kLogLines = 100;

// What DPDK says goes here instead of to the user's terminal.
struct LogTail {
  std::mutex mutex;
  std::deque<std::string> lines;
  std::string partial;

  void take(const char* text, std::size_t size) {
    const std::lock_guard lock(mutex);
    for (std::size_t i = 0; i < size; ++i) {
      if (text[i] != '\n') {
        if (partial.size() < 500) partial += text[i];
        continue;
      }
      if (!partial.empty()) lines.push_back(std::move(partial));
      partial.clear();
      if (lines.size() > kLogLines) lines.pop_front();
    }
  }
};

LogTail& log() {
  // Never destroyed: DPDK's own threads may log until the process is gone.
  static auto* tail = new LogTail;
  return *tail;
}

void capture_log() {
  cookie_io_functions_t functions{};
  functions.write = [](void*, const char* text, std::size_t size) {
    log().take(text, size);
    return static_cast<ssize_t>(size);
  };
  std::FILE* stream = fopencookie(nullptr, "w", functions);
  if (stream == nullptr) return;
  setvbuf(stream, nullptr, _IOLBF, 0);
  rte_openlog_stream(stream);
}

// EAL prints its fatal alerts to stderr besides logging them; they reach the user in our words.
class QuietStderr {
 public:
  QuietStderr() : saved_(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) {
    std::fflush(stderr);
    const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (saved_ >= 0 && null >= 0) ::dup2(null, STDERR_FILENO);
    if (null >= 0) ::close(null);
  }
  ~QuietStderr() {
    std::fflush(stderr);
    if (saved_ < 0) return;
    ::dup2(saved_, STDERR_FILENO);
    ::close(saved_);
  }
  QuietStderr(const QuietStderr&) = delete;
  QuietStderr& operator=(const QuietStderr&) = delete;

 private:
  int saved_;
};

std::string joined_tail(std::size_t lines) {
  std::string text;
  for (const std::string& line : Eal::log_tail(lines)) text += "\n  DPDK: " + line;
  return text;
}

struct Launched {
  int (*entry)(void*) = nullptr;
  void* argument = nullptr;
  unsigned worker = 0;
};
std::array<Launched, RTE_MAX_LCORE> launched;

int worker_thread(void* context) {
  const auto& start = *static_cast<const Launched*>(context);
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are the control thread's
  // Sleeps of the idle ladder shall end when they say.
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  const std::string name = "sluice-w" + std::to_string(start.worker);
  pthread_setname_np(pthread_self(), name.c_str());
  return start.entry(start.argument);
}

std::string runtime_folder() {
  // NOLINTBEGIN(concurrency-mt-unsafe): nobody writes the environment.
  if (const char* folder = std::getenv("RUNTIME_DIRECTORY")) return std::string(folder) + "/dpdk";
  if (::geteuid() == 0) return "/var/run/dpdk";
  if (const char* folder = std::getenv("XDG_RUNTIME_DIR")) return std::string(folder) + "/dpdk";
  // NOLINTEND(concurrency-mt-unsafe)
  return "/tmp/dpdk";
}

bool initialised = false;

}  // namespace

std::vector<std::string> Eal::log_tail(std::size_t lines) {
  const std::lock_guard lock(log().mutex);
  const auto& all = log().lines;
  const auto n = static_cast<std::ptrdiff_t>(std::min(lines, all.size()));
  return {all.end() - n, all.end()};
}

std::expected<std::unique_ptr<Eal>, std::string> Eal::start(const EalConfig& config) {
  if (initialised) return std::unexpected("DPDK was started already in this process");
  if (config.worker_cpus.empty()) return std::unexpected("no worker core is configured");
  if (config.worker_cpus.size() + 1 > RTE_MAX_LCORE) {
    return std::unexpected("more workers than DPDK knows cores (" +
                           std::to_string(RTE_MAX_LCORE - 1) + ")");
  }
  remove_leftovers(runtime_folder(), "/dev/hugepages", config.instance);

  EalFacts facts;
  facts.usable_cpus = usable_cpus();
  facts.pid = static_cast<unsigned>(::getpid());
  const bool enough = hugepages_available(config.memory_mb, SystemView::real());
  if (config.hugepages == Hugepages::require && !enough) {
    return std::unexpected("hugepages are required, but " + std::to_string(config.memory_mb) +
                           " MB of them are not free");
  }
  facts.use_hugepages = enough && config.hugepages != Hugepages::never;

  std::vector<std::string> arguments = eal_arguments(config, facts);
  arguments.insert(arguments.begin(), config.instance);
  // EAL keeps and permutes what it is given.
  static std::vector<std::string> kept;
  kept = arguments;
  static std::vector<char*> argv;
  argv.clear();
  for (std::string& argument : kept) argv.push_back(argument.data());
  argv.push_back(nullptr);

  capture_log();
  initialised = true;  // EAL refuses a second attempt whatever became of the first
  int result = 0;
  {
    const QuietStderr quiet;
    result = rte_eal_init(static_cast<int>(kept.size()), argv.data());
  }
  if (result < 0) {
    return std::unexpected("DPDK did not start (" + std::string(rte_strerror(rte_errno)) + ")" +
                           joined_tail(8));
  }
  std::unique_ptr<Eal> eal(new Eal);
  eal->hugepages_ = facts.use_hugepages;
  eal->memory_mb_ = config.memory_mb;
  eal->workers_ = static_cast<unsigned>(config.worker_cpus.size());
  return eal;
}

Eal::~Eal() {
  rte_eal_mp_wait_lcore();
  const QuietStderr quiet;
  rte_eal_cleanup();
}

bool Eal::uses_hugepages() const { return hugepages_; }
unsigned Eal::memory_mb() const { return memory_mb_; }
unsigned Eal::workers() const { return workers_; }

bool Eal::launch(unsigned worker, int (*entry)(void*), void* argument) {
  if (worker >= workers_ || rte_eal_get_lcore_state(worker + 1) != WAIT) return false;
  launched[worker] = {entry, argument, worker};
  return rte_eal_remote_launch(worker_thread, &launched[worker], worker + 1) == 0;
}

int Eal::join(unsigned worker) { return worker >= workers_ ? -1 : rte_eal_wait_lcore(worker + 1); }

bool Eal::running(unsigned worker) const {
  return worker < workers_ && rte_eal_get_lcore_state(worker + 1) == RUNNING;
}

namespace {

// "sluice-1234" or "sluice-1234map_0" -> 1234; 0 when it is not of that form.
long pid_in_name(std::string_view name, std::string_view instance) {
  if (!name.starts_with(instance) || name.size() <= instance.size() + 1) return 0;
  if (name[instance.size()] != '-') return 0;
  long pid = 0;
  for (const char c : name.substr(instance.size() + 1)) {
    if (c < '0' || c > '9') break;
    pid = pid * 10 + (c - '0');
    if (pid > 4'194'304) return 0;  // PID_MAX_LIMIT
  }
  return pid;
}

bool in_use(const std::string& entry, long pid) {
  if (pid == ::getpid() || ::kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM) return true;
  // The owner may live in another pid namespace: EAL holds a lock on this file all its life.
  const int fd = ::open((entry + "/config").c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const bool held = ::fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  ::close(fd);
  return held;
}

bool remove_entry(const std::string& path) {
  if (::unlink(path.c_str()) == 0) return true;
  std::error_code error;
  for (std::filesystem::directory_iterator at(path, error), end; at != end; at.increment(error)) {
    ::unlink(at->path().c_str());
  }
  return ::rmdir(path.c_str()) == 0;
}

unsigned sweep(const std::string& folder, std::string_view instance) {
  std::vector<std::string> dead;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; at != end; at.increment(error)) {
    const long pid = pid_in_name(at->path().filename().native(), instance);
    if (pid > 0 && !in_use(at->path(), pid)) dead.push_back(at->path());
  }
  return static_cast<unsigned>(std::count_if(dead.begin(), dead.end(), remove_entry));
}

}  // namespace

unsigned remove_leftovers(const std::string& runtime_folder, const std::string& hugepage_folder,
                          std::string_view instance) {
  return sweep(runtime_folder, instance) + sweep(hugepage_folder, instance);
}

}  // namespace sluice::runtime
