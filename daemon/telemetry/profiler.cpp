// SPDX-License-Identifier: Apache-2.0
#include "telemetry/profiler.hpp"

#include "base/async/pause.hpp"
#include "sys/file.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

namespace fallbackd::telemetry {

namespace asio = boost::asio;

namespace {

constexpr const char* kLibrary = "libtcmalloc_and_profiler.so.4";
constexpr const char* kMark = "FALLBACKD_PROFILING";  // in the environment: already restarted
constexpr const char* kSampleEvery = "8192";          // bytes: a quiet daemon has a few hundred KiB
constexpr const char* kCpuProfile = "cpu.pprof";
constexpr int kMaxSeconds = 60;
constexpr std::size_t kMaxBytes = 64 << 20;

/// A function of the library, null if it was not loaded.
template <class Function>
Function* find(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
}

http::Response unavailable() {
  return {501,
          "text/plain; charset=utf-8",
          std::string(kLibrary) +
              " is not installed (Debian: libgoogle-perftools4), or profiling was enabled " +
              "after the start: restart fallbackd\n",
          {}};
}

http::Response refusal(unsigned status, std::string why) {
  return {status, "text/plain; charset=utf-8", std::move(why), {}};
}

http::Response profile(std::string bytes, const char* name) {
  return {200,
          "application/octet-stream",
          std::move(bytes),
          {{"Content-Disposition", std::string("attachment; filename=\"") + name + "\""}}};
}

/// A profile that is being taken; the library has one at most.
class Running {
 public:
  Running(bool& busy, void (*stop)()) : busy_(busy), stop_(stop) { busy_ = true; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    stop_();
    busy_ = false;
  }

 private:
  bool& busy_;
  void (*stop_)();
};

}  // namespace

// NOLINTBEGIN(concurrency-mt-unsafe): there is only one thread yet.
void preloadProfiler(char** argv) {
  if (std::getenv(kMark) == nullptr) {
    std::array<char, 4096> self{};
    if (::readlink("/proc/self/exe", self.data(), self.size() - 1) <= 0) return;
    ::setenv(kMark, "1", 1);
    ::setenv("LD_PRELOAD", kLibrary, 1);
    ::setenv("TCMALLOC_SAMPLE_PARAMETER", kSampleEvery, 1);
    ::execv(self.data(), argv);
  }
  // Programs started from here must not load it.
  ::unsetenv(kMark);
  ::unsetenv("LD_PRELOAD");
  ::unsetenv("TCMALLOC_SAMPLE_PARAMETER");
}
// NOLINTEND(concurrency-mt-unsafe)

asio::awaitable<http::Response> Profiler::cpu(http::Request request) {
  auto* const start = find<int(const char*)>("ProfilerStart");
  auto* const stop = find<void()>("ProfilerStop");
  if (start == nullptr || stop == nullptr) co_return unavailable();
  int seconds = 10;
  if (const auto given = request.query.find("seconds"); given != request.query.end()) {
    const auto& text = given->second;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size() || seconds < 1 ||
        seconds > kMaxSeconds) {
      co_return refusal(400, "seconds must be a number from 1 to " + std::to_string(kMaxSeconds) + "\n");
    }
  }
  if (busy_) co_return refusal(409, "another CPU profile is being taken\n");
  const auto file = folder_ + "/" + kCpuProfile;
  if (start(file.c_str()) == 0) co_return refusal(500, "the profiler could not be started\n");
  {
    // Also stopped if the wait is cancelled.
    const Running running(busy_, stop);
    co_await pauseFor(std::chrono::seconds(seconds));
  }
  auto bytes = sys::readFile(Stage::telemetry, file, kMaxBytes);
  if (const auto dir = sys::openDir(Stage::telemetry, folder_)) ::unlinkat(dir->get(), kCpuProfile, 0);
  if (!bytes) co_return refusal(500, bytes.error().message() + "\n");
  co_return profile(std::move(*bytes), kCpuProfile);
}

asio::awaitable<http::Response> Profiler::heap(http::Request /*request*/) {
  // MallocExtension::instance() and MallocExtension::GetHeapSample(std::string*): there is no C name for
  // them.
  auto* const instance = find<void*()>("_ZN15MallocExtension8instanceEv");
  auto* const sample = find<void(void*, std::string*)>(
      "_ZN15MallocExtension13GetHeapSampleEPNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE");
  if (instance == nullptr || sample == nullptr) co_return unavailable();
  std::string bytes;
  sample(instance(), &bytes);
  co_return profile(std::move(bytes), "heap.pprof");
}

}  // namespace fallbackd::telemetry
