// SPDX-License-Identifier: Apache-2.0
#include "launcher/confinement/security.hpp"

#include "launcher/confinement/seccomp.hpp"
#include "sys/file.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <optional>
#include <sys/resource.h>

namespace fallbackd::launcher {

namespace {

constexpr std::size_t kMaxProfile = 1 << 20;

/// As for a container of the pod, which, like the pause process, gets the limits that containerd was started
/// with. containerd itself has raised its own soft limit.
std::optional<ProcessLimit> openFiles(pid_t pause) {
  const auto of = sys::openFileLimitsOf(Stage::identity, pause);
  rlimit own{};
  if (!of || ::getrlimit(RLIMIT_NOFILE, &own) != 0) return std::nullopt;
  const auto hard = std::min<std::uint64_t>(of->hard, own.rlim_max);  // raising it takes CAP_SYS_RESOURCE
  return ProcessLimit{RLIMIT_NOFILE, std::min(of->soft, hard), hard};
}

/// Labels the binary; returns the label for the other files. Without one the fallback is confined all the
/// same, but the policy may refuse to start it, or deny it a file.
std::string labelFiles(const KernelFolders& kernel, const LaunchRequest& request,
                       std::vector<std::string>& notes) {
  auto label = fileLabel(kernel, request.sandbox.pausePid);
  if (label && !label->empty()) {
    const auto labelled = labelFile(request.executable->get(), *label);
    if (!labelled) label = tl::unexpected<Error>(labelled.error());
  }
  if (label) return *label;
  notes.push_back("its files have no SELinux label of the pod: " + label.error().message());
  return {};
}

}  // namespace

Result<> Confinement::prepare() {
  FB_TRY(defaults_[0], compileDefaultFilter(0));
  return {};
}

Result<std::string> Confinement::filter(const config::Security& security) {
  using Type = config::SecurityProfile::Type;
  if (security.seccomp.type == Type::unconfined) return std::string();
  if (security.seccomp.type == Type::localhost) {
    FB_TRY(const auto folder, sys::openDir(Stage::identity, profiles_));
    FB_TRY(const auto file, sys::openBeneath(Stage::identity, folder, security.seccomp.localhost));
    FB_TRY(const auto text, sys::readAll(Stage::identity, file, kMaxProfile, security.seccomp.localhost));
    auto program = compileFilterProfile(text);
    if (!program) {
      auto error = std::move(program).error();
      error.context =
          "seccomp profile " + profiles_ + "/" + security.seccomp.localhost + ": " + error.context;
      return tl::unexpected<Error>(std::move(error));
    }
    return program;
  }
  auto& known = defaults_[security.capabilities];
  if (known.empty()) {
    FB_TRY(known, compileDefaultFilter(security.capabilities));
  }
  return known;
}

Result<> Confinement::apply(const LaunchRequest& request, LaunchOrder& order,
                            std::vector<std::string>& notes) {
  const auto& security = request.workload.security;
  order.capabilities = security.capabilities;
  FB_TRY(order.seccomp, filter(security));
  // A profile of the node may deny anything except execveat.
  order.filterLetsWait = security.seccomp.type == config::SecurityProfile::Type::runtime_default;
  FB_TRY(order.attributes, processLabels(kernel_, request.sandbox.pausePid, security, notes));
  order.fileLabel = labelFiles(kernel_, request, notes);
  const bool chosen = std::any_of(security.rlimits.begin(), security.rlimits.end(),
                                  [](const auto& limit) { return limit.resource == RLIMIT_NOFILE; });
  if (const auto usual = chosen ? std::nullopt : openFiles(request.sandbox.pausePid))
    order.limits.push_back(*usual);
  for (const auto& limit : security.rlimits) {
    const auto value = limit.value.value_or(RLIM_INFINITY);
    order.limits.push_back({static_cast<std::uint32_t>(limit.resource), value, value});
  }
  return {};
}

}  // namespace fallbackd::launcher
