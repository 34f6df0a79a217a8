// SPDX-License-Identifier: Apache-2.0
#include "telemetry/process_usage.hpp"

#include "base/strings.hpp"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <system_error>
#include <unistd.h>

namespace fallbackd::telemetry {

namespace {

namespace fs = std::filesystem;

std::string contentOf(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

double number(std::string_view text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// "btime SECONDS" of /proc/stat.
double bootTime() {
  const std::string stat = contentOf("/proc/stat");
  const std::string_view key = "\nbtime ";
  const auto at = stat.find(key);
  return at == std::string::npos ? 0 : number(std::string_view(stat).substr(at + key.size()));
}

}  // namespace

std::optional<ProcessUsage> processUsage() {
  const std::string stat = contentOf("/proc/self/stat");
  // The name before it may contain spaces and parentheses. Fields as in proc(5); the state is the third.
  const auto name = stat.rfind(") ");
  if (name == std::string::npos) return std::nullopt;
  const auto fields = split(std::string_view(stat).substr(name + 2), ' ');
  constexpr std::size_t kUserTime = 11;
  constexpr std::size_t kSystemTime = 12;
  constexpr std::size_t kThreads = 17;
  constexpr std::size_t kStartTime = 19;
  constexpr std::size_t kVirtual = 20;
  constexpr std::size_t kResident = 21;
  if (fields.size() <= kResident) return std::nullopt;

  static const double kBooted = bootTime();
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  ProcessUsage usage;
  usage.cpuSeconds = (number(fields[kUserTime]) + number(fields[kSystemTime])) / ticks;
  usage.startTime = kBooted + number(fields[kStartTime]) / ticks;
  usage.threads = number(fields[kThreads]);
  usage.virtualBytes = number(fields[kVirtual]);
  usage.residentBytes = number(fields[kResident]) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  std::error_code error;
  for (fs::directory_iterator entry("/proc/self/fd", error), end; !error && entry != end;
       entry.increment(error)) {
    ++usage.openFds;
  }
  if (usage.openFds > 0) --usage.openFds;  // the one used for counting
  ::rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) usage.maxFds = static_cast<double>(limit.rlim_cur);
  return usage;
}

}  // namespace fallbackd::telemetry
