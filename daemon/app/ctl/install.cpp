// SPDX-License-Identifier: Apache-2.0
// fallbackctl install: puts one binary or a whole pack into the cache if all of it would be admitted there.
#include "cache/install.hpp"

#include "app/ctl/binary_file.hpp"
#include "app/ctl/cache_options.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/document.hpp"
#include "app/ctl/output.hpp"
#include "app/ctl/pack_place.hpp"
#include "app/ctl/progress.hpp"
#include "cache/json.hpp"
#include "config/load.hpp"
#include "pack/unpack.hpp"
#include "sys/file.hpp"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;

struct InstallOptions {
  CacheOptions cache;
  std::string file;
  std::vector<std::string> attestations;
  std::string from;
  std::size_t keep = 0;
  bool replaceForeign = false;
  std::string format = "table";
};

constexpr std::size_t kMaxText = 1 << 20;

/// The pack as a folder; unpacks it first if it is an image.
Result<cache::Pack> packAt(const std::string& from, cache::Installer& installer) {
  FB_TRY(const auto place, packPlace(from));
  if (place.kind != PackPlace::Kind::local) {
    return fail(
        Stage::cli, Reason::usage,
        from + " is not on this machine; fetch it first: skopeo copy " + place.image + " oci:layout:1.8.3");
  }
  FB_TRY(const bool packed, pack::isPacked(place.path));
  if (!packed && place.tag.empty()) return cache::readPack(place.path);
  if (!packed)
    return fail(Stage::cli, Reason::usage, place.path + " is a folder of binaries, which has no tags");
  FB_TRY(const auto folder, installer.unpackFolder());
  Progress progress("unpacked", 0);
  FB_CHECK(pack::unpack(place.path, folder, place.tag, [&](std::uint64_t bytes) { progress.add(bytes); }));
  return cache::readPack(folder, place.path);
}

std::uint64_t bytesOf(const std::vector<cache::PackItem>& items) {
  std::uint64_t sum = 0;
  for (const auto& item : items) {
    std::error_code failed;
    const auto size = std::filesystem::file_size(item.binary, failed);
    sum += failed ? 0 : size;
  }
  return sum;
}

/// What workloads refer to, what rollbacks go back to, and what runs, as fallbackd's journal shows even if
/// the daemon is down.
Result<std::set<BinaryRef>> inUse(const CacheOptions& options) {
  std::set<BinaryRef> refs;
  const auto loaded = config::load(*options.configFile, options.dropIns);
  if (loaded.config == nullptr)
    return fail(Stage::cli, Reason::invalid, *options.configFile + " is refused; see check-config");
  for (const auto& workload : loaded.config->workloads) refs.insert(workload.binary);
  for (const auto& one : loaded.config->cache.rollbacks) refs.insert({one.from.name, one.to});
  const auto folder = loaded.config->launcher.runDir + "/journal";
  const auto dir = sys::openDir(Stage::cli, folder);
  if (!dir && dir.error().reason == Reason::not_found) return refs;
  if (!dir) return tl::unexpected<Error>(dir.error());
  FB_TRY(const auto names, sys::listDir(Stage::cli, *dir));
  for (const auto& name : names) {
    if (name.starts_with('.') || !name.ends_with(".json")) continue;
    const auto text = sys::readFile(Stage::cli, folder + "/" + name, kMaxText);
    // A recovery that ended since the folder was listed.
    if (!text && text.error().reason == Reason::not_found) continue;
    // An unreadable entry might be running any of them: then nothing is removed.
    if (!text) return tl::unexpected<Error>(text.error());
    FB_TRY(const auto entry, cache::parseStrict(*text, folder + "/" + name));
    const auto ref = parseBinaryRef(entry.is_object() ? cache::stringAt(entry.get_object(), "binary") : "");
    if (!ref)
      return fail(Stage::cli, Reason::invalid, folder + "/" + name + " names no binary: nothing is removed");
    refs.insert(*ref);
  }
  return refs;
}

void print(const std::vector<cache::Change>& changes, const std::string& format) {
  std::vector<std::vector<std::string>> rows{{"NAME", "VERSION", "CHANGE", "DIGEST", "SIZE", "FS-VERITY"}};
  json::array list;
  for (const auto& one : changes) {
    const auto action = std::string(toString(one.action));
    rows.push_back({one.ref.name, one.ref.version, action,
                    one.digest.empty() ? "-" : one.digest.substr(0, 12), humanBytes(one.size),
                    one.verity ? "on" : "-"});
    json::object object{{"name", one.ref.name},
                        {"version", one.ref.version},
                        {"change", action},
                        {"bytes", one.size},
                        {"fsVerity", one.verity}};
    if (!one.digest.empty()) object["digest"] = "sha256:" + one.digest;
    list.push_back(std::move(object));
  }
  if (format != "table") {
    printDocument(list, format);
  } else {
    printTable(rows);
  }
}

int complainOfAll(const std::vector<Error>& errors) {
  for (const auto& error : errors) complain(error.message());
  complain("nothing was installed");
  return kFailed;
}

int install(const InstallOptions& options) {
  const auto choice = options.cache.choice();
  if (!choice) return kUsage;
  const bool pack = !options.from.empty();
  if (pack == !options.file.empty() || pack == !options.attestations.empty()) {
    complain("give either --from PACK, or FILE and its --attestation");
    return kUsage;
  }
  if (options.keep > 0 && !options.cache.configFile) {
    complain("--keep needs --config: what its workloads refer to is kept");
    return kUsage;
  }
  auto installer = cache::Installer::open(choice->settings);
  if (!installer) return complain(installer.error());
  std::vector<cache::PackItem> items;
  if (pack) {
    auto read = packAt(options.from, *installer);
    if (!read && read.error().reason == Reason::usage) return exitCodeOf(tl::unexpected<Error>(read.error()));
    if (!read) return complainOfAll({read.error()});
    if (!read->problems.empty()) return complainOfAll(read->problems);
    items = std::move(read->items);
  } else {
    auto item = binaryFile(options.file, options.attestations);
    if (!item) return complain(item.error());
    items.push_back(std::move(*item));
  }
  installer->setForeign(options.replaceForeign ? cache::Foreign::replace : cache::Foreign::refuse);
  auto changes = [&] {
    Progress progress("copied", bytesOf(items));
    installer->setProgress([&](std::uint64_t bytes) { progress.add(bytes); });
    auto done = installer->install(items);
    installer->setProgress({});
    return done;
  }();
  if (!changes) return complainOfAll(changes.error());
  Result<> pruned;
  if (options.keep > 0) {
    std::set<std::string> names;
    for (const auto& item : items) names.insert(item.ref.name);
    auto removed = inUse(options.cache).and_then([&](auto refs) {
      // An older version may be installed for a configuration that is about to name it.
      for (const auto& item : items) refs.insert(item.ref);
      return installer->prune(options.keep, names, refs);
    });
    if (removed) changes->insert(changes->end(), removed->begin(), removed->end());
    if (!removed) pruned = tl::unexpected<Error>(removed.error());
  }
  print(*changes, options.format);
  return pruned ? kOk : complain(pruned.error());
}

}  // namespace

void addInstall(CLI::App& app, Run& run) {
  auto options = std::make_shared<InstallOptions>();
  auto* command = app.add_subcommand("install", "verify a binary or a whole pack and put it into the cache");
  options->cache.addTo(*command);
  command->add_option(
      "--from", options->from,
      "a pack of binaries and attestations, named as in the cache: a folder, an OCI image layer "
      "(tar, tar.gz, tar.zst) or an OCI image (layout or archive, as pack build and skopeo write them; "
      "LAYOUT:TAG where there are several); all or nothing");
  command
      ->add_option("--attestation", options->attestations,
                   "the attestation of FILE; repeat for each signer if several must have signed")
      ->allow_extra_args(false);
  command
      ->add_option("--keep", options->keep,
                   "afterwards keep this many versions of each name that was installed, and what was "
                   "installed, what workloads refer to, what cache.rollbacks goes back to, and what runs; "
                   "other names are left alone")
      ->check(CLI::Range(1, 1000));
  command->add_flag("--replace-foreign", options->replaceForeign,
                    "replace an existing version that has different bytes, signed by a different key");
  addFormat(*command, options->format);
  command->add_option("FILE", options->file, "the binary");
  command->callback([options, &run] { run = [options] { return install(*options); }; });
}

}  // namespace fallbackd::ctl
