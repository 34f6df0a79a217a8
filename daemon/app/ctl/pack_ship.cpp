// SPDX-License-Identifier: Apache-2.0
// fallbackctl pack push and inspect, with skopeo, and pack wait.
#include "app/ctl/commands.hpp"
#include "app/ctl/document.hpp"
#include "app/ctl/output.hpp"
#include "app/ctl/pack_place.hpp"
#include "app/ctl/program.hpp"
#include "cache/json.hpp"
#include "pack/pack_image.hpp"

#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;

struct ShipOptions {
  std::string first;
  std::string second;
  std::string format = "table";
  std::vector<std::string> more;
};

/// The text that pack build wrote below `key` of the document; empty if there is none.
std::string packTextIn(const std::string& document, std::string_view key) {
  boost::system::error_code error;
  const auto root = json::parse(document, error);
  const auto* const fields = !error && root.is_object() ? root.get_object().if_contains(key) : nullptr;
  return fields == nullptr || !fields->is_object() ? std::string()
                                                   : cache::stringAt(fields->get_object(), pack::kPackLabel);
}

/// What the pack declares: an annotation of its manifest, or, for an older pack, a label.
Result<json::array> contentOfPack(const std::string& image, const std::vector<std::string>& more) {
  const auto ask = [&](std::vector<std::string> argv) {
    argv.insert(argv.end(), more.begin(), more.end());
    argv.push_back(image);
    return runProgram(argv);
  };
  FB_TRY(const auto manifest, ask({"skopeo", "inspect", "--raw"}));
  auto text = packTextIn(manifest, "annotations");
  if (text.empty()) {
    FB_TRY(const auto described, ask({"skopeo", "inspect", "--no-tags"}));
    text = packTextIn(described, "Labels");
  }
  boost::system::error_code error;
  const auto list = json::parse(text, error);
  if (!error && list.is_array()) return list.get_array();
  return fail(Stage::cli, Reason::invalid,
              image + " is not a pack: it lacks " + pack::kPackLabel + ", which pack build writes");
}

int inspect(const ShipOptions& options) {
  const auto place = packPlace(options.first);
  if (!place) return exitCodeOf(tl::unexpected<Error>(place.error()));
  const auto list = contentOfPack(place->image, options.more);
  if (!list) return complain(list.error());
  if (options.format != "table") {
    printDocument(*list, options.format);
    return kOk;
  }
  std::vector<std::vector<std::string>> rows{{"NAME", "VERSION", "ARCH", "DIGEST", "EXPIRES"}};
  for (const auto& item : *list) {
    const auto* const object = item.if_object();
    if (object == nullptr) continue;
    const auto at = [&](const char* key) { return cache::stringAt(*object, key); };
    rows.push_back(
        {at("name"), at("version"), at("arch"), at("sha256").substr(0, 12), at("expires").substr(0, 10)});
  }
  printTable(rows);
  return kOk;
}

int push(const ShipOptions& options) {
  const auto source = packPlace(options.first);
  if (!source) return exitCodeOf(tl::unexpected<Error>(source.error()));
  const auto target = packPlace(options.second);
  if (!target) return exitCodeOf(tl::unexpected<Error>(target.error()));
  if (source->kind != PackPlace::Kind::local || target->kind == PackPlace::Kind::local) {
    complain("pack push copies from this machine to a registry: LAYOUT:TAG, then REGISTRY/IMAGE:TAG");
    return kUsage;
  }
  std::vector<std::string> argv{"skopeo", "copy"};
  argv.insert(argv.end(), options.more.begin(), options.more.end());
  argv.push_back(source->image);
  argv.push_back(target->image);
  return exitCodeOf(showProgram(argv));
}

/// Waits for SIGTERM or SIGINT, also as process 1, which the kernel ends only by signals that it handles.
int waitForTheEnd() {
  sigset_t ends{};
  ::sigemptyset(&ends);
  ::sigaddset(&ends, SIGTERM);
  ::sigaddset(&ends, SIGINT);
  ::sigprocmask(SIG_BLOCK, &ends, nullptr);  // NOLINT(concurrency-mt-unsafe): one thread
  int which = 0;
  while (::sigwait(&ends, &which) != 0) {
  }
  return kOk;
}

}  // namespace

void addPackPush(CLI::App& pack, Run& run) {
  auto options = std::make_shared<ShipOptions>();
  auto* command = pack.add_subcommand("push", "copy a pack from an OCI layout to a registry, with skopeo");
  command->add_option("LAYOUT:TAG", options->first, "the result of build")->required();
  command->add_option("IMAGE", options->second, "registry.example.com/shop/fallback-pack:TAG")->required();
  command->add_option("--skopeo", options->more, "an option for skopeo copy, for example --authfile=FILE")
      ->allow_extra_args(false);
  command->callback([options, &run] { run = [options] { return push(*options); }; });
}

void addPackInspect(CLI::App& pack, Run& run) {
  auto options = std::make_shared<ShipOptions>();
  auto* command = pack.add_subcommand("inspect", "show the content that a pack declares, with skopeo");
  command->add_option("IMAGE", options->first, "LAYOUT:TAG on this machine, or an image with its registry")
      ->required();
  addFormat(*command, options->format);
  command->add_option("--skopeo", options->more, "an option for skopeo inspect, for example --authfile=FILE")
      ->allow_extra_args(false);
  command->callback([options, &run] { run = [options] { return inspect(*options); }; });
}

void addPackWait(CLI::App& pack, Run& run) {
  auto* command = pack.add_subcommand(
      "wait", "do nothing until SIGTERM: the container of a pod whose init containers install packs");
  command->callback([&run] { run = &waitForTheEnd; });
}

}  // namespace fallbackd::ctl
