// SPDX-License-Identifier: Apache-2.0
#include "workers/program.hpp"

#include "base/clock.hpp"
#include "base/strings.hpp"
#include "sys/file.hpp"
#include "sys/memory_file.hpp"
#include "sys/process.hpp"
#include "workers/trusted_path.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::workers {

namespace {

constexpr std::size_t kMaxComplaint = 512;  // bytes of stderr that get into an error
constexpr auto kEndLimit = std::chrono::milliseconds(500);
constexpr int kCannotExecute = 127;

tl::unexpected<Error> malformed() {
  return fail(Stage::detection, Reason::protocol, "a malformed request for a program");
}

/// Texts separated by NUL, which no argument or variable can contain; the input is what follows.
class Texts {
 public:
  explicit Texts(std::string_view bytes) : rest_(bytes) {}

  std::string next() {
    const auto end = rest_.find('\0');
    if (end == std::string_view::npos) {
      ok_ = false;
      return {};
    }
    std::string text(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return text;
  }
  std::uint32_t number() {
    const auto text = next();
    std::uint32_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    ok_ = ok_ && code == std::errc{} && end == text.data() + text.size();
    return ok_ ? value : 0;
  }
  std::vector<std::string> list() {
    std::vector<std::string> all;
    for (auto count = number(); ok_ && count > 0; --count) all.push_back(next());
    return all;
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

void append(std::string& bytes, std::string_view text) {
  bytes.append(text).push_back('\0');
}

void append(std::string& bytes, const std::vector<std::string>& list) {
  append(bytes, std::to_string(list.size()));
  for (const auto& text : list) append(bytes, text);
}

Result<sys::UniqueFd> fileWith(const std::string& input) {
  FB_TRY(auto file, sys::memoryFile(Stage::detection, "the program's input"));
  FB_CHECK(sys::writeAll(Stage::detection, file, input, "the program's input"));
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return failErrno(Stage::detection, "rewind the program's input");
  return file;
}

struct Pipe {
  sys::UniqueFd reading;  // does not block
  sys::UniqueFd writing;
};

Result<Pipe> makePipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return failErrno(Stage::detection, "make a pipe");
  Pipe made{sys::UniqueFd(ends[0]), sys::UniqueFd(ends[1])};
  if (::fcntl(made.reading.get(), F_SETFL, O_NONBLOCK) != 0) {
    return failErrno(Stage::detection, "make a pipe that does not block");
  }
  return made;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (auto& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

/// After fork: system calls only.
[[noreturn]] void become(const char* path, char* const* argv, char* const* env, std::array<int, 3> streams,
                         pid_t worker) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != worker) ::_exit(kCannotExecute);
  ::setsid();
  if (::chdir("/") != 0) ::_exit(kCannotExecute);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);  // passwords
  // Every process may raise its own.
  const int score = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >= 0) static_cast<void>(::write(score, "1000", 4) == 4);
  // Away from 0 to 2 first, so that no copy overwrites another one's source.
  for (auto& stream : streams) stream = ::fcntl(stream, F_DUPFD_CLOEXEC, 3);
  for (int target = 0; target < 3; ++target) {
    if (::dup2(streams.at(static_cast<std::size_t>(target)), target) < 0) ::_exit(kCannotExecute);
  }
  ::close_range(3, ~0U, 0);
  ::execve(path, argv, env);
  const int number = errno;
  const auto* const text = ::strerrordesc_np(number);
  if (text != nullptr) static_cast<void>(::write(2, text, std::char_traits<char>::length(text)) > 0);
  ::_exit(kCannotExecute);
}

/// A running program. The destructor kills it and all of its process group.
class Running {
 public:
  static Result<Running> start(Program program) {
    // Anyone who can write there can run programs as root.
    if (!program.config.empty()) FB_CHECK(checkTrusted(program.config, S_IFREG));
    FB_CHECK(checkTrusted(program.folder, S_IFDIR));
    const auto path = program.folder + "/" + program.name;
    FB_CHECK(checkTrusted(path, S_IFREG));
    FB_TRY(const auto input, fileWith(program.input));
    FB_TRY(auto output, makePipe());
    FB_TRY(auto errors, makePipe());
    program.args.insert(program.args.begin(), path);
    auto argv = pointers(program.args);
    auto env = pointers(program.env);
    const pid_t worker = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) return failErrno(Stage::detection, "start " + path);
    if (pid == 0) {
      become(path.c_str(), argv.data(), env.data(), {input.get(), output.writing.get(), errors.writing.get()},
             worker);
    }
    auto process = sys::openPidFd(Stage::detection, pid);
    Running running(pid, std::move(output.reading), std::move(errors.reading));
    if (!process) return tl::unexpected<Error>(process.error());
    running.process_ = std::move(*process);
    return running;
  }
  Running(Running&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)),
        process_(std::move(other.process_)),
        output_(std::move(other.output_)),
        errors_(std::move(other.errors_)) {}
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    if (pid_ > 0) static_cast<void>(end(kEndLimit));
  }

  /// Its output, or what was wrong. `name` is for errors.
  Result<std::string> outcome(const std::string& name, Monotonic::duration limit, std::size_t maxOutput) {
    const auto deadline = Clock::system().now() + limit;
    std::string output;
    std::string complaint;
    for (bool runs = true;;) {
      // What it wrote before its end is in the pipe by now.
      if (!drain(output_, output, maxOutput)) {
        return fail(Stage::detection, Reason::too_large,
                    name + " wrote more than " + std::to_string(maxOutput) + " bytes");
      }
      static_cast<void>(drain(errors_, complaint, kMaxComplaint));
      if (!runs) break;
      const auto now = Clock::system().now();
      if (now >= deadline) {
        return fail(Stage::detection, Reason::timeout,
                    name + " did not end within " + formatDuration(limit) + " and was killed");
      }
      wait(deadline - now);
      const auto ended = sys::hasEnded(Stage::detection, process_);
      runs = !ended || !*ended;  // until the deadline, if the kernel cannot tell
    }
    const auto status = end(kEndLimit);
    if (!status)
      return fail(Stage::detection, Reason::killed, name + " ended, but its parent could not reap it");
    const auto said = trim(complaint);
    const auto words = said.empty() ? std::string() : ": " + quoted(said, kMaxComplaint);
    if (WIFSIGNALED(*status)) {
      return fail(Stage::detection, Reason::signaled,
                  name + " was killed by signal " + std::to_string(WTERMSIG(*status)) + words);
    }
    if (WEXITSTATUS(*status) != 0) {
      return fail(Stage::detection, Reason::exited,
                  name + " exited with " + std::to_string(WEXITSTATUS(*status)) + words);
    }
    return output;
  }

 private:
  Running(pid_t pid, sys::UniqueFd output, sys::UniqueFd errors)
      : pid_(pid), output_(std::move(output)), errors_(std::move(errors)) {}

  /// Takes what is there. False where it is more than `limit`; the rest is dropped.
  static bool drain(sys::UniqueFd& pipe, std::string& into, std::size_t limit) {
    std::array<char, 4096> piece{};
    while (pipe.valid()) {
      const auto size = ::read(pipe.get(), piece.data(), piece.size());
      if (size < 0 && errno == EINTR) continue;
      if (size < 0 && errno == EAGAIN) return true;
      if (size <= 0) {
        pipe.reset();
        return true;
      }
      const auto room = limit - into.size();
      into.append(piece.data(), std::min(static_cast<std::size_t>(size), room));
      if (static_cast<std::size_t>(size) > room) return false;
    }
    return true;
  }

  void wait(Monotonic::duration limit) const {
    std::array<pollfd, 3> watched{{{process_.get(), POLLIN, 0},
                                   {output_.valid() ? output_.get() : -1, POLLIN, 0},
                                   {errors_.valid() ? errors_.get() : -1, POLLIN, 0}}};
    const auto millis = std::chrono::ceil<std::chrono::milliseconds>(limit).count();
    ::poll(watched.data(), watched.size(), static_cast<int>(millis));
  }

  /// Kills the group and reaps the program; its wait status. One in an uninterruptible sleep is left behind.
  std::optional<int> end(std::chrono::milliseconds limit) {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);  // in case it does not have its session yet
    if (process_.valid()) {
      pollfd ended{process_.get(), POLLIN, 0};
      ::poll(&ended, 1, static_cast<int>(limit.count()));
    }
    int status = 0;
    const auto reaped = ::waitpid(std::exchange(pid_, 0), &status, WNOHANG);
    return reaped > 0 ? std::optional<int>(status) : std::nullopt;
  }

  pid_t pid_;
  sys::PidFd process_;
  sys::UniqueFd output_;
  sys::UniqueFd errors_;
};

}  // namespace

void ask(Task& task, const Program& program) {
  task.work = Work::run_program;
  auto& bytes = task.bytes;
  bytes.clear();
  append(bytes, program.folder);
  append(bytes, program.name);
  append(bytes, program.args);
  append(bytes, program.env);
  append(bytes, std::to_string(program.limit.count()));
  append(bytes, std::to_string(program.maxOutput));
  append(bytes, program.config);
  bytes.append(program.input);
}

Result<std::string> runProgram(std::string_view bytes) {
  Texts texts(bytes);
  Program program;
  program.folder = texts.next();
  program.name = texts.next();
  program.args = texts.list();
  program.env = texts.list();
  program.limit = std::chrono::milliseconds(texts.number());
  program.maxOutput = texts.number();
  program.config = texts.next();
  program.input = texts.rest();
  if (!texts.ok() || program.name.empty()) return malformed();
  const auto name = program.name;
  const auto limit = program.limit;
  const auto maxOutput = program.maxOutput;
  FB_TRY(auto running, Running::start(std::move(program)));
  return running.outcome(name, limit, maxOutput);
}

}  // namespace fallbackd::workers
