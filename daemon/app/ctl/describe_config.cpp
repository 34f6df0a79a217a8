// SPDX-License-Identifier: Apache-2.0
// fallbackctl describe-config: what a configuration may contain, for editors and for people.
#include "app/ctl/commands.hpp"
#include "app/ctl/output.hpp"
#include "config/description.hpp"

#include <cstdio>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

void addDescribeConfig(CLI::App& app, Run& run) {
  auto format = std::make_shared<std::string>("reference");
  auto* command =
      app.add_subcommand("describe-config", "print what a configuration may contain: keys, types, defaults");
  command->add_option("--format", *format, "reference (Markdown) or schema (JSON Schema, for editors)")
      ->check(CLI::IsMember({"reference", "schema"}))
      ->capture_default_str();
  command->callback([format, &run] {
    run = [format] {
      const auto root = config::describeConfiguration();
      const auto text = *format == "schema" ? config::schemaText(root) : config::referenceText(root);
      std::printf("%s", text.c_str());
      return kOk;
    };
  });
}

}  // namespace fallbackd::ctl
