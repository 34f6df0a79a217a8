// SPDX-License-Identifier: Apache-2.0
// fallbackctl init: kubectl get deploy NAME -o yaml | fallbackctl init > workloads.yaml
#include "app/ctl/commands.hpp"
#include "app/ctl/output.hpp"
#include "app/ctl/starter.hpp"
#include "sys/fd.hpp"
#include "sys/file.hpp"

#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

namespace fallbackd::ctl {

namespace {

constexpr std::size_t kMaxInput = 16 << 20;

int init() {
  if (::isatty(STDIN_FILENO) != 0) {
    complain(
        "expects a Kubernetes object on standard input: kubectl get deploy NAME -o yaml | fallbackctl init");
    return kUsage;
  }
  const sys::UniqueFd in(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  const auto text = sys::readAll(Stage::cli, in, kMaxInput, "standard input");
  if (!text) return complain(text.error());
  const auto starter = makeStarter(*text);
  for (const auto& diagnostic : starter.diagnostics)
    std::fprintf(stderr, "%s\n", diagnostic.toString().c_str());
  if (starter.workloads == 0) return kUsage;
  std::printf("%s", starter.yaml.c_str());
  if (starter.openPoints > 0)
    complain(std::to_string(starter.openPoints) + " points to decide; look for TODO");
  return starter.diagnostics.empty() ? kOk : kUsage;
}

}  // namespace

void addInit(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand(
      "init", "write a first configuration from `kubectl get deploy NAME -o yaml` on standard input");
  command->callback([&run] { run = init; });
}

}  // namespace fallbackd::ctl
