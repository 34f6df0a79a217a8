// SPDX-License-Identifier: Apache-2.0
// fallbackctl: keys, signatures, the cache and the daemon's state, from one static file.
#include "app/ctl/commands.hpp"
#include "app/ctl/output.hpp"

#include <exception>

#include <CLI/CLI.hpp>

int main(int argc, char** argv) {
  using namespace fallbackd;
  try {
    CLI::App app{"Signs, checks, installs and runs fallback binaries; shows what fallbackd does."};
    app.require_subcommand(1);
    app.set_version_flag("--version", std::string("fallbackctl ") + FALLBACKD_VERSION);
    ctl::Run run;
    for (const auto add :
         {ctl::addKeygen,         ctl::addSign,        ctl::addVerify,     ctl::addInstall,    ctl::addList,
          ctl::addExec,           ctl::addCheckConfig, ctl::addStatus,     ctl::addRecoveries, ctl::addWatch,
          ctl::addExplain,        ctl::addCoverage,    ctl::addCompletion, ctl::addPack,       ctl::addInit,
          ctl::addMirror,         ctl::addPause,       ctl::addRemoveAll,  ctl::addResume,     ctl::addDrill,
          ctl::addDescribeConfig, ctl::addHelp,        ctl::addVersion}) {
      add(app, run);
    }
    ctl::addExamples(app);
    const std::span<char* const> arguments(argv, static_cast<std::size_t>(argc));
    if (const auto problem = ctl::unknownCommand(app, arguments.subspan(1))) {
      ctl::complain(*problem);
      return ctl::kUsage;
    }
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return ctl::afterOutput(app.exit(error) == 0 ? ctl::kOk : ctl::kUsage);
    }
    return ctl::afterOutput(run());
  } catch (const std::exception& error) {
    ctl::complain(error.what());
    return ctl::kFailed;
  }
}
