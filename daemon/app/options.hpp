// fallbackd's command line.
#pragma once

#include <optional>
#include <string>

namespace fallbackd::app {

struct Options {
  std::string configFile = "/etc/fallbackd/fallbackd.yaml";
  std::optional<std::string> dropInDir;  // absent: conf.d beside the file
  std::string nodeName;                  // absent: the host's name
  std::string nodeIp;                    // empty: the one that the node's default route sends from
  bool printMetrics = false;             // the page of all metrics, and nothing else
};

/// Reads the command line. When the program is to end at once (--help, --version, a usage error) the exit
/// code is in the second member: 0, or 2 for a usage error, whose text went to stderr.
struct ParsedOptions {
  Options options;
  std::optional<int> exitCode;
};
ParsedOptions parseOptions(int argc, char** argv);

}  // namespace fallbackd::app
