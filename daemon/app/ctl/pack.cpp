// SPDX-License-Identifier: Apache-2.0
// fallbackctl pack build: an image of signed binaries. A pack is its own installer: besides the binaries it
// contains this program, so that it runs as an init container with nothing else.
#include "app/ctl/cache_options.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/output.hpp"
#include "app/ctl/progress.hpp"
#include "base/strings.hpp"
#include "cache/install.hpp"
#include "config/model.hpp"
#include "pack/pack_image.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

namespace {

namespace fs = std::filesystem;

constexpr std::time_t kLastTime = 7'258'118'400;  // 2200-01-01

struct BuildOptions {
  std::string folder;
  std::string keys;
  unsigned threshold = 1;
  std::string layout;
  std::string tag = "pack";
  std::vector<std::string> labels;
  bool artifact = false;
};

/// A private folder that is removed with the object.
Result<sys::ScratchFolder> makeWorkFolder() {
  std::error_code error;
  const auto parent = fs::temp_directory_path(error);
  if (error) return fail(Stage::cli, Reason::system, "find the folder of temporary files", error.value());
  return sys::ScratchFolder::make(Stage::cli, parent, "fallbackd-pack.");
}

/// SOURCE_DATE_EPOCH, or 1970: the same binaries give the same image.
Result<std::time_t> imageTime() {
  const char* const set = std::getenv("SOURCE_DATE_EPOCH");  // NOLINT(concurrency-mt-unsafe): one thread
  const std::string_view text = set == nullptr ? "" : set;
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return 0;
  std::time_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || seconds > kLastTime) {
    return fail(Stage::cli, Reason::invalid, "SOURCE_DATE_EPOCH=" + std::string(text) + " is after 2200");
  }
  return seconds;
}

/// The labels of --label.
Result<std::map<std::string, std::string>> labelsOf(const BuildOptions& options) {
  std::map<std::string, std::string> labels;
  for (const auto& one : options.labels) {
    const auto equals = one.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(Stage::cli, Reason::usage, "--label " + fallbackd::quoted(one) + ": expected NAME=VALUE");
    }
    const auto name = one.substr(0, equals);
    if (name == pack::kPackLabel) {
      return fail(Stage::cli, Reason::usage,
                  "--label " + name + ": pack build writes it; it lists the content of the pack");
    }
    labels[name] = one.substr(equals + 1);
  }
  return labels;
}

/// Whether LAYOUT:TAG can name it.
Result<> checkTag(const std::string& tag) {
  constexpr std::size_t kMaxTag = 128;
  const bool plain = std::all_of(tag.begin(), tag.end(), [](unsigned char c) {
    return (c < 0x80 && std::isalnum(c) != 0) ||
           std::string_view("._+-").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain && !tag.empty() && tag.size() <= kMaxTag) return {};
  return fail(Stage::cli, Reason::usage,
              "--tag " + fallbackd::quoted(tag) + ": expected A-Z, a-z, 0-9, ., _, + and -, at most " +
                  std::to_string(kMaxTag));
}

/// The bytes of the binaries, and of the installer if there is one.
std::uint64_t bytesIn(const std::string& folder, const pack::PackImage& image) {
  std::error_code failed;
  const auto own = fs::file_size(image.installer, failed);
  std::uint64_t sum = failed || image.kind == pack::ImageKind::artifact ? 0 : own;
  for (const auto& one : fs::directory_iterator(folder, failed)) {
    const auto size = one.file_size(failed);
    sum += failed ? 0 : size;
  }
  return sum;
}

Result<> writePack(const BuildOptions& options, const std::map<std::string, std::string>& labels,
                   const std::string& folder, const std::vector<cache::PackItem>& items) {
  pack::PackImage image{"/proc/self/exe", folder, items, labels, 0};
  FB_TRY(image.created, imageTime());
  if (options.artifact) image.kind = pack::ImageKind::artifact;
  Progress progress("packed", bytesIn(folder, image));
  image.copied = [&](std::uint64_t bytes) { progress.add(bytes); };
  return pack::writePackImage(fromHere(options.layout), options.tag, image);
}

int build(const BuildOptions& options) {
  // Before anything is copied and verified.
  const auto labels = labelsOf(options);
  if (!labels) return exitCodeOf(tl::unexpected<Error>(labels.error()));
  if (const auto tag = checkTag(options.tag); !tag) return exitCodeOf(tag);
  auto pack = cache::readPack(options.folder);
  if (!pack) return complain(pack.error());
  for (const auto& problem : pack->problems) complain(problem.message());
  if (!pack->problems.empty()) return kFailed;
  auto work = makeWorkFolder();
  if (!work) return complain(work.error());
  // Installed like on a node: what a node would refuse is refused here.
  const std::string root = work->path() + "/root";
  config::CacheSettings settings;
  settings.path = root + "/pack";
  settings.keys = fromHere(options.keys);
  settings.threshold = options.threshold;
  settings.state = work->path() + "/state";
  const auto made = sys::makeDirs(Stage::cli, settings.path, 0755);
  if (!made) return complain(made.error());
  auto installer = cache::Installer::open(settings, ::geteuid());
  if (!installer) return complain(installer.error());
  const auto changes = installer->install(pack->items);
  if (!changes) {
    for (const auto& error : changes.error()) complain(error.message());
    complain("no image was built: a node would refuse this pack");
    return kFailed;
  }
  const auto written = writePack(options, *labels, settings.path, pack->items);
  if (!written) return complain(written.error());
  for (const auto& item : pack->items) std::printf("%s\n", item.ref.toString().c_str());
  std::printf("in oci:%s:%s\n", options.layout.c_str(), options.tag.c_str());
  return kOk;
}

void addBuild(CLI::App& pack, Run& run) {
  auto options = std::make_shared<BuildOptions>();
  auto* command = pack.add_subcommand(
      "build", "build an image from a folder of signed binaries, if nodes would accept it");
  command->add_option("--keys", options->keys, "folder of the public keys that nodes have")->required();
  command->add_option("--threshold", options->threshold, "number of different keys that must have signed")
      ->check(CLI::Range(1U, config::kMaxThreshold))
      ->capture_default_str();
  command->add_option("--layout", options->layout, "OCI layout to write into (a folder; created if missing)")
      ->required();
  command->add_option("--tag", options->tag, "the image's name in the layout")->capture_default_str();
  command->add_flag(
      "--artifact", options->artifact,
      "an OCI artifact without the installer: for registries, oras and skopeo, not for runtimes");
  command->add_option("--label", options->labels,
                      "NAME=VALUE, for example org.opencontainers.image.revision=...");
  command
      ->add_option("FOLDER", options->folder,
                   "NAME-vVERSION and NAME-vVERSION.sigstore.json, as in the cache")
      ->required();
  command->callback([options, &run] { run = [options] { return build(*options); }; });
}

}  // namespace

void addPack(CLI::App& app, Run& run) {
  auto* pack = app.add_subcommand("pack", "images of signed binaries: build, push, inspect, wait");
  pack->require_subcommand(1);
  addBuild(*pack, run);
  addPackPush(*pack, run);
  addPackInspect(*pack, run);
  addPackWait(*pack, run);
}

}  // namespace fallbackd::ctl
