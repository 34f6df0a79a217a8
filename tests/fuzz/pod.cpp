// SPDX-License-Identifier: Apache-2.0
// A pod's specification, from its bytes to the workload of each of its containers.
#include "fuzz.hpp"
#include "kube/inherit.hpp"
#include "kube/version_match.hpp"

#include <algorithm>

using namespace fallbackd;

namespace {

bool isInside(const std::string& path, const std::string& folder) {
  return path == folder || path.starts_with(folder + "/");
}

bool hasNul(const std::string& text) {
  return text.find('\0') != std::string::npos;
}

void check(const kube::Inherited& inherited, const config::LauncherSettings& launcher) {
  const auto& workload = inherited.workload;
  fuzz::demand(workload.user.uid != 0, "nobody allowed root");
  fuzz::demand((workload.security.capabilities & ~launcher.allowedCapabilities) == 0,
               "only allowed capabilities");
  fuzz::demand(workload.security.seccomp.type != config::SecurityProfile::Type::unconfined, "it is confined");
  fuzz::demand(workload.workingDir.starts_with('/'), "paths are absolute");
  for (const auto& [name, value] : workload.env) {
    fuzz::demand(!name.empty() && name.find('=') == std::string::npos && !hasNul(name) && !hasNul(value),
                 "variables are valid");
  }
  for (const auto& volume : workload.volumes) {
    const auto& path = volume.mountPath;
    fuzz::demand(
        path.starts_with('/') && path.size() > 1 && !isInside(path, "/proc") && !isInside(path, "/sys"),
        "volumes are mounted where they may be");
    fuzz::demand(
        !volume.subPath.starts_with('/') && ("/" + volume.subPath + "/").find("/../") == std::string::npos,
        "sub-paths stay in their volume");
    fuzz::demand(volume.path.empty() || isInside(volume.path, launcher.allowedHostPaths.front()),
                 "only allowed host paths");
  }
  for (const auto& alias : workload.hostAliases) {
    for (const auto& name : alias.names)
      fuzz::demand(name.find('\n') == std::string::npos, "a name has no line end");
  }
  if (const auto* const http = std::get_if<config::ReadyWhenHttp>(&workload.readiness.when)) {
    for (const auto& [name, value] : http->headers) {
      fuzz::demand((name + value).find_first_of("\r\n") == std::string::npos, "a header has no line end");
    }
  }
  for (const auto& one : inherited.notInherited)
    fuzz::demand(!one.path.empty() && !one.why.empty(), "a problem has a path and a text");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto pod = kube::parsePod(fuzz::text(data, size));
  if (!pod) {
    fuzz::demand(!pod.error().context.empty(), "a problem has a text");
    return 0;
  }
  config::LauncherSettings launcher;
  launcher.allowedHostPaths = {"/var/log"};
  config::Workload configured;
  configured.binary = {"it", "1"};
  const kube::Facts facts;
  for (const auto* list : {&pod->containers, &pod->initContainers}) {
    for (std::size_t i = 0; i < std::min<std::size_t>(list->size(), 4); ++i) {
      const auto& container = (*list)[i];
      if (const auto inherited = kube::inherit({*pod, container.name, configured, launcher, facts})) {
        check(*inherited, launcher);
      }
      const auto wanted = kube::wantedVersion(*pod, container.image, {});
      fuzz::demand(wanted.version.has_value() == wanted.why.empty(), "a version, or why there is none");
    }
  }
  return 0;
}
