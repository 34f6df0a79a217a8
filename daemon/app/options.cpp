// SPDX-License-Identifier: Apache-2.0
#include "app/options.hpp"

#include "kube/own_daemon_set.hpp"

#include <array>
#include <unistd.h>

#include <CLI/CLI.hpp>

namespace fallbackd::app {

namespace {

std::string hostName() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

}  // namespace

ParsedOptions parseOptions(int argc, char** argv) {
  ParsedOptions parsed;
  auto& options = parsed.options;
  options.nodeName = hostName();

  CLI::App app{
      "fallbackd starts a pod's signed fallback binary when its image cannot be pulled.\n"
      "SIGHUP, or a change of its files, makes it read the configuration again."};
  app.add_option("-c,--config", options.configFile, "the configuration file")->capture_default_str();
  app.add_option("--drop-ins", options.dropInDir,
                 "folder of more workloads (default: conf.d beside the file)");
  app.add_option("--listen", options.listen,
                 "address of the probes and metrics if telemetry.listen names none");
  app.add_option("--sources", options.sources,
                 "the sources of pods if kubernetes.sources is not set: kubelet, apiserver, or both\n"
                 "with a comma");
  app.add_option("--node-name", options.nodeName, "this node's name in Kubernetes")
      ->envname("NODE_NAME")
      ->capture_default_str();
  app.add_option("--node-ip", options.nodeIp,
                 "this node's address, for pods on the host's network\n"
                 "(default: the source address of the default route)")
      ->envname("NODE_IP");
  app.add_option(
         "--daemon-set", options.daemonSet,
         "NAMESPACE/NAME of the DaemonSet that runs this: if it is gone at the end, stand-ins are removed")
      ->envname("DAEMON_SET")
      ->check([](const std::string& text) {
        return kube::OwnDaemonSet::isName(text) ? std::string() : "write NAMESPACE/NAME";
      });
  app.add_flag("--remove-stand-ins", options.removeStandIns,
               "remove the containers that kubelet adopted, as before an uninstall, and exit");
  app.add_flag("--print-metrics", options.printMetrics, "print the documentation of all metrics and exit");
  app.set_version_flag("--version", std::string("fallbackd ") + FALLBACKD_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    parsed.exitCode = app.exit(error) == 0 ? 0 : 2;
  }
  return parsed;
}

}  // namespace fallbackd::app
