// SPDX-License-Identifier: Apache-2.0
// fallbackctl pack: builds images of signed binaries; pushes and inspects them with skopeo. A pack is its own
// installer: besides the binaries it contains this program, so that it runs as an init container with nothing
// else.
#include "app/ctl/cache_options.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/document.hpp"
#include "app/ctl/output.hpp"
#include "app/ctl/program.hpp"
#include "cache/install.hpp"
#include "cache/json.hpp"
#include "pack/pack_image.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::time_t kLastTime = 7'258'118'400;  // 2200-01-01

struct BuildOptions {
  std::string folder;
  std::string keys;
  unsigned threshold = 1;
  std::string layout;
  std::string tag = "pack";
  std::vector<std::string> labels;
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
      return fail(Stage::cli, Reason::invalid, "--label " + one + ": expected NAME=VALUE");
    }
    labels[one.substr(0, equals)] = one.substr(equals + 1);
  }
  return labels;
}

Result<> writePack(const BuildOptions& options, const std::string& folder,
                   const std::vector<cache::PackItem>& items) {
  pack::PackImage image{"/proc/self/exe", folder, items, {}, 0};
  FB_TRY(image.labels, labelsOf(options));
  FB_TRY(image.created, imageTime());
  return pack::writePackImage(fromHere(options.layout), options.tag, image);
}

int build(const BuildOptions& options) {
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
  const auto written = writePack(options, settings.path, pack->items);
  if (!written) return complain(written.error());
  for (const auto& item : pack->items) std::printf("%s\n", item.ref.toString().c_str());
  std::printf("in oci:%s:%s\n", options.layout.c_str(), options.tag.c_str());
  return kOk;
}

int inspect(const std::string& image, const std::vector<std::string>& more, const std::string& format) {
  const bool hasTransport = image.find("://") != std::string::npos || image.starts_with("oci:") ||
                            image.starts_with("oci-archive:") || image.starts_with("dir:");
  std::vector<std::string> argv{"skopeo", "inspect", "--no-tags"};
  argv.insert(argv.end(), more.begin(), more.end());
  argv.push_back(hasTransport ? image : "docker://" + image);
  const auto text = runProgram(argv);
  if (!text) return complain(text.error());
  boost::system::error_code error;
  const auto root = json::parse(*text, error);
  const auto* const labels = !error && root.is_object() ? root.get_object().if_contains("Labels") : nullptr;
  const auto* const label =
      labels != nullptr && labels->is_object() ? labels->get_object().if_contains(pack::kPackLabel) : nullptr;
  const auto list =
      label != nullptr && label->is_string() ? json::parse(label->get_string(), error) : json::value();
  if (error || !list.is_array()) {
    complain(image + " is not a pack: it lacks the label " + pack::kPackLabel + " that pack build writes");
    return kFailed;
  }
  if (format != "table") {
    printDocument(list, format);
    return kOk;
  }
  std::vector<std::vector<std::string>> rows{{"NAME", "VERSION", "ARCH", "DIGEST", "EXPIRES"}};
  for (const auto& item : list.get_array()) {
    const auto* const object = item.if_object();
    if (object == nullptr) continue;
    const auto at = [&](const char* key) { return cache::stringAt(*object, key); };
    rows.push_back(
        {at("name"), at("version"), at("arch"), at("sha256").substr(0, 12), at("expires").substr(0, 10)});
  }
  printTable(rows);
  return kOk;
}

int push(const std::string& source, const std::string& target, const std::vector<std::string>& more) {
  std::vector<std::string> argv{"skopeo", "copy"};
  argv.insert(argv.end(), more.begin(), more.end());
  argv.push_back("oci:" + source);
  argv.push_back(target.find("://") == std::string::npos ? "docker://" + target : target);
  const auto done = runProgram(argv);
  if (!done) return complain(done.error());
  std::printf("%s", done->c_str());
  return kOk;
}

void addBuild(CLI::App& pack, Run& run) {
  auto options = std::make_shared<BuildOptions>();
  auto* command = pack.add_subcommand(
      "build", "build an image from a folder of signed binaries, if nodes would accept it");
  command->add_option("--keys", options->keys, "folder of the public keys that nodes have")->required();
  command->add_option("--threshold", options->threshold, "number of different keys that must have signed")
      ->capture_default_str();
  command->add_option("--layout", options->layout, "OCI layout to write into (a folder; created if missing)")
      ->required();
  command->add_option("--tag", options->tag, "the image's name in the layout")->capture_default_str();
  command->add_option("--label", options->labels,
                      "NAME=VALUE, for example org.opencontainers.image.revision=...");
  command
      ->add_option("FOLDER", options->folder,
                   "NAME-vVERSION and NAME-vVERSION.sigstore.json, as in the cache")
      ->required();
  command->callback([options, &run] { run = [options] { return build(*options); }; });
}

struct ShipOptions {
  std::string first;
  std::string second;
  std::string format = "table";
  std::vector<std::string> more;
};

void addPush(CLI::App& pack, Run& run) {
  auto options = std::make_shared<ShipOptions>();
  auto* command = pack.add_subcommand("push", "copy a pack from an OCI layout to a registry, with skopeo");
  command->add_option("LAYOUT:TAG", options->first, "the result of build")->required();
  command->add_option("IMAGE", options->second, "registry.example.com/shop/fallback-pack:TAG")->required();
  command->add_option("--skopeo", options->more, "an option for skopeo copy, for example --authfile=FILE")
      ->allow_extra_args(false);
  command->callback(
      [options, &run] { run = [options] { return push(options->first, options->second, options->more); }; });
}

void addInspect(CLI::App& pack, Run& run) {
  auto options = std::make_shared<ShipOptions>();
  auto* command = pack.add_subcommand("inspect", "show the content that a pack declares, with skopeo");
  command->add_option("IMAGE", options->first, "an image in a registry, or oci:LAYOUT:TAG")->required();
  addFormat(*command, options->format);
  command->add_option("--skopeo", options->more, "an option for skopeo inspect, for example --authfile=FILE")
      ->allow_extra_args(false);
  command->callback([options, &run] {
    run = [options] { return inspect(options->first, options->more, options->format); };
  });
}

}  // namespace

void addPack(CLI::App& app, Run& run) {
  auto* pack = app.add_subcommand("pack", "images of signed binaries: build, push, inspect");
  pack->require_subcommand(1);
  addBuild(*pack, run);
  addPush(*pack, run);
  addInspect(*pack, run);
}

}  // namespace fallbackd::ctl
