// SPDX-License-Identifier: Apache-2.0
#include "spawner/protocol.hpp"

#include "base/strings.hpp"
#include "spawner/wire.hpp"
#include "sys/message_socket.hpp"

#include <algorithm>
#include <linux/filter.h>

#include <climits>

namespace fallbackd::launcher {

namespace {

constexpr std::uint32_t kMagic = 0x31424c46;  // "FLB1": the digit is the version of the encoding
constexpr std::size_t kMaxTexts = 4096;       // arguments, variables
constexpr std::size_t kMaxGroups = 256;
constexpr std::size_t kMaxFiles = 64;
constexpr std::size_t kMaxMounts = 128;
constexpr std::size_t kMaxAttributes = 8;
constexpr std::size_t kMaxLimits = 32;

enum class Kind : std::uint32_t { launch = 1, abort, ready, started, failed, exited, want_spare, spare };

WireWriter begin(Kind kind) {
  WireWriter out;
  out.number(kMagic);
  out.number(static_cast<std::uint32_t>(kind));
  return out;
}

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
  if (path.empty() || path.front() != '/' || path.size() >= PATH_MAX || !withoutNul(path)) return false;
  if (path == "/") return true;
  const auto parts = split(std::string_view(path).substr(1), '/');
  return std::none_of(parts.begin(), parts.end(), [](std::string_view part) {
    return part.empty() || part == "." || part == ".." || part.size() > NAME_MAX;
  });
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
  return !order.argv.empty() && clean(order.argv) && clean(order.healthArgv) && clean(order.env) &&
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

void write(WireWriter& out, const LaunchOrder& order) {
  out.texts(order.argv);
  out.texts(order.healthArgv);
  out.texts(order.env);
  out.text(order.workingDir);
  out.number(order.uid);
  out.number(order.gid);
  out.number(static_cast<std::uint32_t>(order.groups.size()));
  for (const gid_t group : order.groups) out.number(group);
  out.number(order.healthTimeoutNs);
  out.number(order.tmpBytes);
  out.number(order.oomScoreAdj);
  out.number(order.capabilities);
  out.text(order.seccomp);
  out.number(static_cast<std::uint8_t>(order.filterLetsWait));
  out.number(static_cast<std::uint32_t>(order.attributes.size()));
  for (const auto& attribute : order.attributes) {
    out.text(attribute.file);
    out.text(attribute.value);
  }
  out.number(static_cast<std::uint32_t>(order.limits.size()));
  for (const auto& limit : order.limits) {
    out.number(limit.resource);
    out.number(limit.soft);
    out.number(limit.hard);
  }
  out.number(static_cast<std::uint8_t>(order.pids));
  out.number(order.sandboxPids.device);
  out.number(order.sandboxPids.inode);
  out.number(static_cast<std::uint8_t>(order.sandboxUsers));
  out.number(order.rootUid);
  out.number(order.rootGid);
  out.number(static_cast<std::uint32_t>(order.files.size()));
  for (const auto& file : order.files) {
    out.text(file.path);
    out.number(file.mode);
    out.text(file.content);
  }
  out.number(static_cast<std::uint32_t>(order.mounts.size()));
  for (const auto& mount : order.mounts) {
    out.text(mount.path);
    out.number(static_cast<std::uint8_t>(mount.directory));
  }
  out.number(static_cast<std::uint8_t>(order.unifiedCgroup));
}

LaunchOrder readLaunch(WireReader& in) {
  LaunchOrder order;
  order.argv = in.texts(kMaxTexts);
  order.healthArgv = in.texts(kMaxTexts);
  order.env = in.texts(kMaxTexts);
  order.workingDir = in.text();
  order.uid = in.number<uid_t>();
  order.gid = in.number<gid_t>();
  order.groups.resize(in.count(kMaxGroups));
  for (gid_t& group : order.groups) group = in.number<gid_t>();
  order.healthTimeoutNs = in.number<std::int64_t>();
  order.tmpBytes = in.number<std::uint64_t>();
  order.oomScoreAdj = in.number<int>();
  order.capabilities = in.number<std::uint64_t>();
  order.seccomp = in.text();
  order.filterLetsWait = in.number<std::uint8_t>() != 0;
  order.attributes.resize(in.count(kMaxAttributes));
  for (auto& attribute : order.attributes) {
    attribute.file = in.text();
    attribute.value = in.text();
  }
  order.limits.resize(in.count(kMaxLimits));
  for (auto& limit : order.limits) {
    limit.resource = in.number<std::uint32_t>();
    limit.soft = in.number<std::uint64_t>();
    limit.hard = in.number<std::uint64_t>();
  }
  order.pids = static_cast<PidNamespace>(in.number<std::uint8_t>());
  order.sandboxPids.device = in.number<dev_t>();
  order.sandboxPids.inode = in.number<ino_t>();
  order.sandboxUsers = in.number<std::uint8_t>() != 0;
  order.rootUid = in.number<uid_t>();
  order.rootGid = in.number<gid_t>();
  order.files.resize(in.count(kMaxFiles));
  for (auto& file : order.files) {
    file.path = in.text();
    file.mode = in.number<mode_t>();
    file.content = in.text();
  }
  order.mounts.resize(in.count(kMaxMounts));
  for (auto& mount : order.mounts) {
    mount.path = in.text();
    mount.directory = in.number<std::uint8_t>() != 0;
  }
  order.unifiedCgroup = in.number<std::uint8_t>() != 0;
  if (!in.ok() || !valid(order)) in.refuse();
  return order;
}

StartedReport readStarted(WireReader& in) {
  StartedReport report;
  report.id = in.number<std::uint64_t>();
  report.pid = in.number<pid_t>();
  report.preparedNs = in.number<std::int64_t>();
  report.healthCheckedNs = in.number<std::int64_t>();
  report.startedNs = in.number<std::int64_t>();
  if (report.pid <= 1) in.refuse();
  return report;
}

FailedReport readFailed(WireReader& in) {
  FailedReport report;
  report.id = in.number<std::uint64_t>();
  report.stage = static_cast<Stage>(in.number<std::uint8_t>());
  report.reason = static_cast<Reason>(in.number<std::uint8_t>());
  report.errnum = in.number<int>();
  report.text = in.text();
  if (toString(report.stage) == "unknown" || toString(report.reason) == "unknown") in.refuse();
  return report;
}

ExitedReport readExited(WireReader& in) {
  ExitedReport report;
  report.id = in.number<std::uint64_t>();
  report.signaled = in.number<std::uint8_t>() != 0;
  report.value = in.number<int>();
  return report;
}

template <class Message>
Result<Message> whole(const WireReader& in, Message message) {
  if (!in.atEnd()) return fail(Stage::spawner, Reason::protocol, "a message is damaged");
  return message;
}

/// The kind, or 0 if this is not one of our messages.
std::uint32_t readKind(WireReader& in) {
  return in.number<std::uint32_t>() == kMagic ? in.number<std::uint32_t>() : 0;
}

struct Encoder {
  std::string operator()(const SpareOrder& /*order*/) const { return begin(Kind::want_spare).take(); }
  std::string operator()(const AbortOrder& order) const {
    auto out = begin(Kind::abort);
    out.number(order.id);
    return out.take();
  }
  std::string operator()(const ReadyReport& /*report*/) const { return begin(Kind::ready).take(); }
  std::string operator()(const SpareReport& report) const {
    auto out = begin(Kind::spare);
    out.number(report.id);
    return out.take();
  }
  std::string operator()(const StartedReport& report) const {
    auto out = begin(Kind::started);
    out.number(report.id);
    out.number(report.pid);
    out.number(report.preparedNs);
    out.number(report.healthCheckedNs);
    out.number(report.startedNs);
    return out.take();
  }
  std::string operator()(const FailedReport& report) const {
    auto out = begin(Kind::failed);
    out.number(report.id);
    out.number(static_cast<std::uint8_t>(report.stage));
    out.number(static_cast<std::uint8_t>(report.reason));
    out.number(report.errnum);
    out.text(report.text);
    return out.take();
  }
  std::string operator()(const ExitedReport& report) const {
    auto out = begin(Kind::exited);
    out.number(report.id);
    out.number(static_cast<std::uint8_t>(report.signaled));
    out.number(report.value);
    return out.take();
  }
};

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
  auto out = begin(Kind::launch);
  write(out, order);
  return checkedSize(out.take());
}

Result<std::string> encode(const Order& order) {
  return checkedSize(std::visit(Encoder{}, order));
}

Result<std::string> encode(const Report& report) {
  return checkedSize(std::visit(Encoder{}, report));
}

Result<LaunchOrder> decodeLaunch(std::string_view bytes) {
  WireReader in(bytes);
  if (static_cast<Kind>(readKind(in)) != Kind::launch) {
    return fail(Stage::spawner, Reason::protocol, "not a launch order");
  }
  auto order = readLaunch(in);
  return whole(in, std::move(order));
}

Result<Order> decodeOrder(std::string_view bytes) {
  WireReader in(bytes);
  switch (static_cast<Kind>(readKind(in))) {
    case Kind::want_spare:
      return whole(in, Order(SpareOrder{}));
    case Kind::abort: {
      const Order order = AbortOrder{in.number<std::uint64_t>()};
      return whole(in, order);
    }
    default:
      return fail(Stage::spawner, Reason::protocol, "not an order");
  }
}

Result<Report> decodeReport(std::string_view bytes) {
  WireReader in(bytes);
  Report report;
  switch (static_cast<Kind>(readKind(in))) {
    case Kind::ready:
      break;
    case Kind::spare:
      report = SpareReport{in.number<std::uint64_t>()};
      break;
    case Kind::started:
      report = readStarted(in);
      break;
    case Kind::failed:
      report = readFailed(in);
      break;
    case Kind::exited:
      report = readExited(in);
      break;
    default:
      return fail(Stage::spawner, Reason::protocol, "not a report");
  }
  return whole(in, std::move(report));
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
