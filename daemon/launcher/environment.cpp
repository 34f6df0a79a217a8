// SPDX-License-Identifier: Apache-2.0
#include "launcher/environment.hpp"

#include <map>
#include <string_view>
#include <unistd.h>

namespace fallbackd::launcher {

namespace {

using Variables = std::map<std::string, std::string>;

void addServiceVariables(Variables& variables, std::vector<std::string>& notes) {
  bool found = false;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with("KUBERNETES_SERVICE_") && !text.starts_with("KUBERNETES_PORT")) continue;
    const auto equals = text.find('=');
    variables[std::string(text.substr(0, equals))] = text.substr(equals + 1);
    found = true;
  }
  if (!found)
    notes.emplace_back("serviceVariables: fallbackd itself has no KUBERNETES_SERVICE_HOST to pass on");
}

}  // namespace

std::vector<std::string> environment(const LaunchRequest& request, const Variables& fromFiles,
                                     std::vector<std::string>& notes) {
  const auto& status = request.sandbox;
  const auto& workload = request.workload;
  // HOME and PATH as a runtime sets them for every container: programs that read them must not fail here.
  Variables variables{{"HOME", "/"},
                      {"HOSTNAME", status.hostname},
                      {"NODE_NAME", request.nodeName},
                      {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                      {"POD_IP", status.ips.empty() ? "" : status.ips.front()},
                      {"POD_NAME", status.sandbox.podName},
                      {"POD_NAMESPACE", status.sandbox.podNamespace}};
  if (workload.serviceVariables) addServiceVariables(variables, notes);
  for (const auto& [name, value] : workload.env) variables[name] = value;
  for (const auto& [name, value] : fromFiles) variables[name] = value;
  std::vector<std::string> entries;
  for (const auto& [name, value] : variables) entries.push_back(name + "=" + value);
  return entries;
}

}  // namespace fallbackd::launcher
