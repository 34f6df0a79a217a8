// SPDX-License-Identifier: Apache-2.0
// The subcommands. Each adds itself to the command line and stores in `run` the function that does its work
// after parsing and returns the exit code.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

namespace CLI {
class App;
}

namespace fallbackd::ctl {

using Run = std::function<int()>;

void addKeygen(CLI::App& app, Run& run);
void addSign(CLI::App& app, Run& run);
void addVerify(CLI::App& app, Run& run);
void addInstall(CLI::App& app, Run& run);
void addList(CLI::App& app, Run& run);
void addExec(CLI::App& app, Run& run);
void addCheckConfig(CLI::App& app, Run& run);
void addStatus(CLI::App& app, Run& run);
void addRecoveries(CLI::App& app, Run& run);
void addWatch(CLI::App& app, Run& run);
void addExplain(CLI::App& app, Run& run);
void addCompletion(CLI::App& app, Run& run);
void addPack(CLI::App& app, Run& run);
void addPackPush(CLI::App& pack, Run& run);
void addPackInspect(CLI::App& pack, Run& run);
void addPackWait(CLI::App& pack, Run& run);
void addCoverage(CLI::App& app, Run& run);
void addInit(CLI::App& app, Run& run);
void addMirror(CLI::App& app, Run& run);
void addPause(CLI::App& app, Run& run);
void addRemoveAll(CLI::App& app, Run& run);
void addResume(CLI::App& app, Run& run);
void addDrill(CLI::App& app, Run& run);
void addDescribeConfig(CLI::App& app, Run& run);
void addHelp(CLI::App& app, Run& run);
void addVersion(CLI::App& app, Run& run);

/// Examples below the help of every command; call it when all commands are there.
void addExamples(CLI::App& app);
/// What is wrong if the arguments (without the program's name) name a command that does not exist, with its
/// nearest neighbour.
std::optional<std::string> unknownCommand(CLI::App& app, std::span<char* const> arguments);

}  // namespace fallbackd::ctl
