// SPDX-License-Identifier: Apache-2.0
// fallbackd's command line.
#pragma once

#include <optional>
#include <string>

namespace fallbackd::app {

struct Options {
  std::string configFile = "/etc/fallbackd/fallbackd.yaml";
  std::optional<std::string> dropInDir;  // absent: conf.d beside the file
  std::optional<std::string> listen;     // the default of telemetry.listen
  std::optional<std::string> sources;    // the default of kubernetes.sources, separated by commas
  std::string nodeName;                  // default: the host's name
  std::string nodeIp;                    // empty: the source address of the node's default route
  std::string daemonSet;                 // NAMESPACE/NAME of this pod's; empty: not a DaemonSet's
  bool removeStandIns = false;           // and nothing else
  bool printMetrics = false;             // print the documentation of all metrics, and nothing else
};

/// Parses the command line. If the program should exit at once (--help, --version, a usage error), the exit
/// code is in the second member: 0, or 2 for a usage error, whose text went to stderr.
struct ParsedOptions {
  Options options;
  std::optional<int> exitCode;
};
ParsedOptions parseOptions(int argc, char** argv);

}  // namespace fallbackd::app
