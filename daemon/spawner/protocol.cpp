// SPDX-License-Identifier: Apache-2.0
#include "spawner/protocol.hpp"

#include "base/paths.hpp"
#include "base/strings.hpp"
#include "spawner/fields.hpp"
#include "sys/message_socket.hpp"

#include <algorithm>
#include <linux/filter.h>
#include <type_traits>
#include <utility>

#include <climits>

namespace fallbackd::launcher {

namespace {

constexpr std::uint32_t kMagic = 0x32424c46;  // "FLB2": the digit is the version of the encoding
constexpr std::size_t kMaxTexts = 4096;       // arguments, variables
constexpr std::size_t kMaxGroups = 256;
constexpr std::size_t kMaxRootFiles = 64;
constexpr std::size_t kMaxMounts = 128;
constexpr std::size_t kMaxAttributes = 8;
constexpr std::size_t kMaxLimits = 32;

Result<std::string> checkedSize(std::string bytes) {
  if (bytes.size() <= sys::kMaxMessageBytes) return bytes;
  return fail(Stage::spawner, Reason::too_large,
              "arguments, environment and files take " + std::to_string(bytes.size()) + " bytes; at most " +
                  std::to_string(sys::kMaxMessageBytes) + " fit");
}

bool withoutNul(const std::string& text) {
  return text.find('\0') == std::string::npos;
}

/// Absolute, no empty part, no "." or "..": the child may pass it to the kernel unchanged.
bool normalPath(const std::string& path) {
  if (!isCleanPath(path) || path.size() >= PATH_MAX || !withoutNul(path)) return false;
  const auto parts = split(path, '/');
  return std::all_of(parts.begin(), parts.end(),
                     [](std::string_view part) { return part.size() <= NAME_MAX; });
}

bool wholeFilter(const std::string& program) {
  return program.size() % sizeof(sock_filter) == 0 && program.size() / sizeof(sock_filter) <= BPF_MAXINSNS;
}

bool valid(const LaunchOrder& order) {
  const auto clean = [](const std::vector<std::string>& texts) {
    return std::all_of(texts.begin(), texts.end(), withoutNul);
  };
  const auto names = [](const std::string& entry) {
    return entry.find('=') != std::string::npos && entry[0] != '=';
  };
  return (!order.argv.empty() || !order.healthArgv.empty()) && clean(order.argv) && clean(order.healthArgv) &&
         withoutNul(order.fileLabel) && clean(order.env) &&
         std::all_of(order.env.begin(), order.env.end(), names) && normalPath(order.workingDir) &&
         order.pids <= PidNamespace::host && order.healthTimeoutNs >= 0 && order.oomScoreAdj >= -1000 &&
         order.oomScoreAdj <= 1000 && wholeFilter(order.seccomp) &&
         std::all_of(
             order.attributes.begin(), order.attributes.end(),
             [](const ProcessAttribute& one) { return !one.file.empty() && normalPath("/" + one.file); }) &&
         std::all_of(order.files.begin(), order.files.end(),
                     [](const RootFile& file) { return normalPath(file.path) && file.path != "/"; }) &&
         std::all_of(order.mounts.begin(), order.mounts.end(),
                     [](const MountTarget& mount) { return normalPath(mount.path) && mount.path != "/"; });
}

bool valid(const StartedReport& report) {
  return report.pid > 1;
}

bool valid(const FailedReport& report) {
  return toString(report.stage) != "unknown" && toString(report.reason) != "unknown";
}

template <class Message>
bool valid(const Message& /*any content*/) {
  return true;
}

// The messages: for each its fields in the order in which they are sent.

void fields(auto& wire, Of<LaunchOrder> auto& order) {
  wire.texts(order.argv, kMaxTexts);
  wire.texts(order.healthArgv, kMaxTexts);
  wire.texts(order.env, kMaxTexts);
  wire.text(order.workingDir);
  wire.number(order.uid);
  wire.number(order.gid);
  wire.list(order.groups, kMaxGroups, [](auto& in, auto& group) { in.number(group); });
  wire.number(order.healthTimeoutNs);
  wire.number(order.tmpBytes);
  wire.number(order.oomScoreAdj);
  wire.number(order.capabilities);
  wire.text(order.seccomp);
  wire.flag(order.filterLetsWait);
  wire.list(order.attributes, kMaxAttributes, [](auto& in, auto& attribute) {
    in.text(attribute.file);
    in.text(attribute.value);
  });
  wire.text(order.fileLabel);
  wire.list(order.limits, kMaxLimits, [](auto& in, auto& limit) {
    in.number(limit.resource);
    in.number(limit.soft);
    in.number(limit.hard);
  });
  wire.choice(order.pids);
  wire.number(order.sandboxPids.device);
  wire.number(order.sandboxPids.inode);
  wire.flag(order.sandboxUsers);
  wire.number(order.rootUid);
  wire.number(order.rootGid);
  wire.list(order.files, kMaxRootFiles, [](auto& in, auto& file) {
    in.text(file.path);
    in.number(file.mode);
    in.text(file.content);
  });
  wire.list(order.mounts, kMaxMounts, [](auto& in, auto& mount) {
    in.text(mount.path);
    in.flag(mount.directory);
  });
  wire.flag(order.unifiedCgroup);
}

void fields(auto& /*wire*/, Of<SpareOrder> auto& /*order*/) {}

void fields(auto& wire, Of<AbortOrder> auto& order) {
  wire.number(order.id);
}

void fields(auto& /*wire*/, Of<ReadyReport> auto& /*report*/) {}

void fields(auto& wire, Of<SpareReport> auto& report) {
  wire.number(report.id);
}

void fields(auto& wire, Of<StartedReport> auto& report) {
  wire.number(report.id);
  wire.number(report.pid);
  wire.number(report.preparedNs);
  wire.number(report.healthCheckedNs);
  wire.number(report.startedNs);
}

void fields(auto& wire, Of<FailedReport> auto& report) {
  wire.number(report.id);
  wire.choice(report.stage);
  wire.choice(report.reason);
  wire.number(report.errnum);
  wire.text(report.text);
}

void fields(auto& wire, Of<PassedReport> auto& report) {
  wire.number(report.id);
}

void fields(auto& wire, Of<ExitedReport> auto& report) {
  wire.number(report.id);
  wire.flag(report.signaled);
  wire.number(report.value);
}

/// The number by which a message is recognised; 0: it has none.
template <class Message>
constexpr std::uint32_t kKind = 0;
template <>
constexpr std::uint32_t kKind<LaunchOrder> = 1;
template <>
constexpr std::uint32_t kKind<AbortOrder> = 2;
template <>
constexpr std::uint32_t kKind<ReadyReport> = 3;
template <>
constexpr std::uint32_t kKind<StartedReport> = 4;
template <>
constexpr std::uint32_t kKind<FailedReport> = 5;
template <>
constexpr std::uint32_t kKind<ExitedReport> = 6;
template <>
constexpr std::uint32_t kKind<SpareOrder> = 7;
template <>
constexpr std::uint32_t kKind<SpareReport> = 8;
template <>
constexpr std::uint32_t kKind<PassedReport> = 9;

template <class Message>
Result<std::string> written(const Message& message) {
  static_assert(kKind<Message> != 0);
  WireWriter wire;
  wire.number(kMagic);
  wire.number(kKind<Message>);
  FieldWriter writer(wire);
  fields(writer, message);
  return checkedSize(wire.take());
}

/// The kind, or 0 if this is not one of our messages.
std::uint32_t readKind(WireReader& in) {
  return in.number<std::uint32_t>() == kMagic ? in.number<std::uint32_t>() : 0;
}

/// False if `kind` is that of a different message. A damaged message makes `wire` refuse.
template <class Message, class Variant>
bool readIf(WireReader& wire, std::uint32_t kind, Variant& into) {
  static_assert(kKind<Message> != 0);
  if (kind != kKind<Message>) return false;
  Message message;
  FieldReader reader(wire);
  fields(reader, message);
  if (!wire.ok() || !valid(message)) wire.refuse();
  into = std::move(message);
  return true;
}

/// Exactly one message of these kinds. `what`: the expected message, for the error.
template <class... Messages>
Result<std::variant<Messages...>> readOneOf(std::string_view bytes, const char* what) {
  WireReader wire(bytes);
  const auto kind = readKind(wire);
  std::variant<Messages...> message;
  const bool known = (readIf<Messages>(wire, kind, message) || ...);
  if (!known) return fail(Stage::spawner, Reason::protocol, std::string("not ") + what);
  if (!wire.atEnd()) return fail(Stage::spawner, Reason::protocol, "a message is damaged");
  return message;
}

}  // namespace

std::vector<int> LaunchFds::numbers(const LaunchOrder& order) const {
  std::vector<int> all{executable.get(), sandbox.get()};
  if (order.unifiedCgroup) all.insert(all.end(), {cgroupFolder.get(), cgroupProcs.get()});
  for (const auto& mount : mounts) all.push_back(mount.get());
  return all;
}

std::vector<int> EntryFds::numbers() const {
  std::vector<int> all{out.get(), err.get()};
  for (const auto& file : tasks) all.push_back(file.get());
  return all;
}

Result<std::string> encode(const LaunchOrder& order) {
  return written(order);
}

Result<std::string> encode(const Order& order) {
  return std::visit([](const auto& one) { return written(one); }, order);
}

Result<std::string> encode(const Report& report) {
  return std::visit([](const auto& one) { return written(one); }, report);
}

Result<LaunchOrder> decodeLaunch(std::string_view bytes) {
  FB_TRY(auto order, readOneOf<LaunchOrder>(bytes, "a launch order"));
  return std::get<LaunchOrder>(std::move(order));
}

Result<Order> decodeOrder(std::string_view bytes) {
  return readOneOf<SpareOrder, AbortOrder>(bytes, "an order");
}

Result<Report> decodeReport(std::string_view bytes) {
  return readOneOf<ReadyReport, SpareReport, StartedReport, FailedReport, PassedReport, ExitedReport>(
      bytes, "a report");
}

Result<LaunchFds> sortLaunchFds(const LaunchOrder& order, std::vector<sys::UniqueFd> fds) {
  const std::size_t wanted =
      kLaunchAlways + (order.unifiedCgroup ? kLaunchUnified : 0U) + order.mounts.size();
  if (fds.size() != wanted) {
    return fail(Stage::spawner, Reason::protocol,
                std::to_string(fds.size()) + " descriptors came, not " + std::to_string(wanted));
  }
  auto next = fds.begin();
  LaunchFds sorted;
  sorted.executable = std::move(*next++);
  sorted.sandbox = sys::PidFd(next++->release());
  if (order.unifiedCgroup) {
    sorted.cgroupFolder = std::move(*next++);
    sorted.cgroupProcs = std::move(*next++);
  }
  while (next != fds.end()) sorted.mounts.push_back(std::move(*next++));
  return sorted;
}

}  // namespace fallbackd::launcher
