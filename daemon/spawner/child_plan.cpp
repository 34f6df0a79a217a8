// SPDX-License-Identifier: Apache-2.0
#include "spawner/child_plan.hpp"

#include "spawner/root.hpp"
#include "spawner/tell.hpp"

#include <algorithm>
#include <cstring>
#include <linux/capability.h>
#include <set>
#include <unistd.h>
#include <utility>

namespace fallbackd::launcher {

namespace {

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (auto& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

/// Adds the folders on the way to `path` ("/a/b/c" gives "a", "a/b").
void addParents(std::set<std::string>& folders, const std::string& path) {
  for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    folders.insert(path.substr(1, slash - 1));
  }
}

}  // namespace

ChildPlan::ChildPlan(LaunchOrder givenOrder, LaunchFds givenFds, const std::vector<ProcessLimit>& givenLimits)
    : order(std::move(givenOrder)),
      fds(std::move(givenFds)),
      program(order.seccomp.size() / sizeof(sock_filter)),
      limits(givenLimits),
      tmpOptions("mode=1777,size=" + std::to_string(order.tmpBytes)),
      oomScoreAdj(std::to_string(order.oomScoreAdj)),
      argv(pointers(order.argv)),
      healthArgv(pointers(order.healthArgv)),
      env(pointers(order.env)) {
  if (!program.empty()) {
    std::memcpy(program.data(), order.seccomp.data(), program.size() * sizeof(sock_filter));
  }
  filter = {static_cast<unsigned short>(program.size()), program.data()};
  // Replaced instead of applied one after the other: a limit that was lowered could not be raised again.
  std::erase_if(limits, [this](const ProcessLimit& usual) {
    return std::any_of(order.limits.begin(), order.limits.end(),
                       [&](const ProcessLimit& own) { return own.resource == usual.resource; });
  });
  limits.insert(limits.end(), order.limits.begin(), order.limits.end());
  std::set<std::string> wanted;
  for (const auto& file : order.files) addParents(wanted, file.path);
  for (const auto& mount : order.mounts) {
    addParents(wanted, mount.path);
    if (mount.directory) wanted.insert(mount.path.substr(1));
  }
  addParents(wanted, order.workingDir);
  if (order.workingDir != "/") wanted.insert(order.workingDir.substr(1));
  for (const char* present : kFolders) wanted.erase(present);
  folders.assign(wanted.begin(), wanted.end());  // sorted: parents come before their children
}

std::string_view ChildPlan::objectOf(Step step, int index) const {
  const auto pick = [index](const auto& list) -> std::string_view {
    const auto at = static_cast<std::size_t>(index);
    return index >= 0 && at < list.size() ? std::string_view(list[at]) : std::string_view();
  };
  const auto pickPath = [index](const auto& list) -> std::string_view {
    const auto at = static_cast<std::size_t>(index);
    return index >= 0 && at < list.size() ? std::string_view(list[at].path) : std::string_view();
  };
  switch (step) {
    case Step::root_folder:
      return pick(folders);
    case Step::root_file:
      return pickPath(order.files);
    case Step::proc_mask:
      return pick(kMasked);
    case Step::proc_read_only:
      return pick(kReadOnly);
    case Step::volume_target:
    case Step::volume_mount:
      return pickPath(order.mounts);
    case Step::attribute: {
      const auto at = static_cast<std::size_t>(index);
      return at < order.attributes.size() ? std::string_view(order.attributes[at].file) : std::string_view();
    }
    case Step::working_dir:
      return order.workingDir;
    default:
      return {};
  }
}

bool ChildPlan::healthApart() const {
  return order.pids != PidNamespace::own || (order.capabilities >> CAP_SYS_PTRACE & 1U) != 0;
}

void report(const ChildPlan& plan, const ChildReport& report) {
  tell(plan.reports, report);
}

void giveUp(ChildPlan& plan, Step step, int object) {
  if (!plan.inHealthCheck) giveUp(plan.reports, step, plan.objectOf(step, object));
  plan.healthFailure = failureNow(step, plan.objectOf(step, object));
  plan.healthFailed = true;
  ::_exit(1);
}

}  // namespace fallbackd::launcher
