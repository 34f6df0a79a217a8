// SPDX-License-Identifier: Apache-2.0
// fallbackctl list and fallbackctl verify: what the cache contains, and whether it would be admitted.
#include "app/ctl/binary_file.hpp"
#include "app/ctl/cache_options.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/document.hpp"
#include "app/ctl/output.hpp"
#include "base/strings.hpp"
#include "cache/admission.hpp"
#include "cache/image_config.hpp"
#include "cache/install.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"

#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;

struct Examined {
  BinaryRef ref;
  Result<cache::Admitted> result;
  std::optional<std::uint64_t> size;  // of the file, admitted or not
};

std::optional<std::uint64_t> sizeOf(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  return static_cast<std::uint64_t>(info.st_size);
}

Result<std::vector<BinaryRef>> binariesIn(const std::string& folder) {
  FB_TRY(const auto dir, sys::openDir(Stage::cli, folder));
  FB_TRY(const auto names, sys::listDir(Stage::cli, dir));
  std::vector<BinaryRef> refs;
  for (const auto& name : names) {
    if (name.ends_with(".sigstore.json")) continue;
    if (auto ref = parseBinaryFileName(name)) refs.push_back(std::move(*ref));
  }
  return refs;
}

/// Read-only: what is below the node's floor is refused unless --config names it, but only the daemon raises
/// the floor.
std::vector<Examined> examine(const std::vector<BinaryRef>& refs, const CacheChoice& choice) {
  cache::AdmissionOptions options;
  options.floor = cache::FloorUse::check;
  cache::Admission admission(choice.settings, options);
  std::vector<Examined> all;
  for (const auto& ref : refs) {
    all.push_back({ref, admission.admit(ref, Clock::system().wall(), choice.namedBy(ref)),
                   sizeOf(choice.settings.path + "/" + ref.fileName())});
  }
  return all;
}

std::string stateOf(const Examined& one) {
  if (!one.result) return std::string(toString(one.result.error().reason));
  return one.result->inGrace ? "ok (expired, in grace)" : "ok";
}

void printAsDocument(const std::vector<Examined>& all, const std::string& format) {
  json::array list;
  for (const auto& one : all) {
    json::object object{
        {"name", one.ref.name}, {"version", one.ref.version}, {"admitted", one.result.has_value()}};
    if (one.size) object["bytes"] = *one.size;
    if (one.result) {
      json::array keys;
      for (const auto& key : one.result->keys) keys.emplace_back(key);
      object["digest"] = "sha256:" + one.result->digest;
      object["expires"] = rfc3339(one.result->expires);
      object["inGrace"] = one.result->inGrace;
      object["keys"] = std::move(keys);
      if (one.result->namespaces) {
        object["namespaces"] = json::array(one.result->namespaces->begin(), one.result->namespaces->end());
      }
      if (one.result->image) object["image"] = cache::writeImageConfig(*one.result->image);
      object["pie"] = one.result->form.pie;
      object["relro"] = one.result->form.relro;
      if (const auto& go = one.result->form.go) {
        object["go"] = {
            {"version", go->goVersion}, {"module", go->module}, {"moduleVersion", go->moduleVersion}};
      }
      if (one.result->verity) object["fsVerity"] = *one.result->verity;
    } else {
      object["reason"] = toString(one.result.error().reason);
      object["error"] = one.result.error().message();
    }
    list.push_back(std::move(object));
  }
  printDocument(list, format);
}

void printList(const std::vector<Examined>& all) {
  std::vector<std::vector<std::string>> rows{
      {"NAME", "VERSION", "DIGEST", "KEY", "EXPIRES", "STATE", "SIZE"}};
  for (const auto& one : all) {
    if (!one.result) {
      rows.push_back({one.ref.name, one.ref.version, "-", "-", "-", stateOf(one),
                      one.size ? humanBytes(*one.size) : "-"});
      continue;
    }
    std::string keys;
    for (const auto& key : one.result->keys) keys.append(keys.empty() ? "" : ",").append(key.substr(0, 12));
    rows.push_back({one.ref.name, one.ref.version, one.result->digest.substr(0, 12), keys,
                    rfc3339(one.result->expires).substr(0, 10), stateOf(one), humanBytes(one.result->size)});
  }
  printTable(rows);
}

void printVerdicts(const std::vector<Examined>& all) {
  for (const auto& one : all) {
    if (one.result) {
      std::printf("%s: %s, sha256 %s, until %s\n", one.ref.toString().c_str(), stateOf(one).c_str(),
                  one.result->digest.c_str(), rfc3339(one.result->expires).c_str());
    } else {
      std::printf("%s: refused: %s\n", one.ref.toString().c_str(),
                  escaped(one.result.error().message()).c_str());
    }
  }
}

struct LookOptions {
  CacheOptions cache;
  std::vector<std::string> refs;  // or with bundles: one file
  std::vector<std::string> bundles;
  std::string format = "table";
};

/// A cache with nothing in it but a copy of the file and its bundles, judged with the node's keys and its
/// floor. The user who runs this owns it, and may own the keys.
Result<Examined> examineFile(const LookOptions& options, CacheChoice choice) {
  FB_TRY(const auto item, binaryFile(options.refs.front(), options.bundles));
  std::error_code error;
  const auto parent = std::filesystem::temp_directory_path(error);
  if (error) return fail(Stage::cli, Reason::system, "find the folder of temporary files", error.value());
  FB_TRY(const auto work, sys::ScratchFolder::make(Stage::cli, parent, "fallbackd-verify."));
  choice.settings.path = work.path() + "/cache";
  FB_CHECK(sys::makeDirs(Stage::cli, choice.settings.path, 0755));
  FB_TRY(auto installer, cache::Installer::open(choice.settings, ::geteuid()));
  const auto installed = installer.install({item});
  if (!installed)
    return Examined{item.ref, tl::unexpected<Error>(installed.error().front()), sizeOf(item.binary)};
  cache::AdmissionOptions admitting;
  admitting.owner = ::geteuid();
  admitting.floor = cache::FloorUse::check;
  cache::Admission admission(choice.settings, admitting);
  return Examined{item.ref, admission.admit(item.ref, Clock::system().wall(), choice.namedBy(item.ref)),
                  sizeOf(item.binary)};
}

int lookAtFile(const LookOptions& options, const CacheChoice& choice) {
  if (options.refs.size() != 1) {
    complain("--bundle is for one FILE");
    return kUsage;
  }
  auto examined = examineFile(options, choice);
  if (!examined) return complain(examined.error());
  const bool admitted = examined->result.has_value();
  std::vector<Examined> all;
  all.push_back(std::move(*examined));
  if (options.format != "table") {
    printAsDocument(all, options.format);
  } else {
    std::printf("%s is ", options.refs.front().c_str());
    printVerdicts(all);
  }
  return admitted ? kOk : kFailed;
}

int look(const LookOptions& options, bool verify) {
  const auto choice = options.cache.choice();
  if (!choice) return kUsage;
  if (!options.bundles.empty()) return lookAtFile(options, *choice);
  std::vector<BinaryRef> refs;
  for (const auto& text : options.refs) {
    auto ref = parseBinaryRef(text);
    if (!ref) {
      complain(ref.error().context);
      return kUsage;
    }
    refs.push_back(std::move(*ref));
  }
  if (refs.empty()) {
    auto found = binariesIn(choice->settings.path);
    if (!found) return complain(found.error());
    refs = std::move(*found);
  }
  const auto all = examine(refs, *choice);
  if (options.format != "table") {
    printAsDocument(all, options.format);
  } else if (verify) {
    printVerdicts(all);
  } else {
    printList(all);
  }
  if (!verify) return kOk;
  for (const auto& one : all) {
    if (!one.result) return kFailed;
  }
  return kOk;
}

void addLook(CLI::App& app, Run& run, const char* name, const char* description, bool verify) {
  auto options = std::make_shared<LookOptions>();
  auto* command = app.add_subcommand(name, description);
  options->cache.addTo(*command);
  addFormat(*command, options->format);
  command->add_option(verify ? "NAME@VERSION|FILE" : "NAME@VERSION", options->refs,
                      "default: everything in the cache");
  if (verify) {
    command
        ->add_option("--bundle", options->bundles,
                     "judge FILE, which is not in the cache, with this attestation; repeat for each signer")
        ->allow_extra_args(false);
  }
  command->callback([options, verify, &run] { run = [options, verify] { return look(*options, verify); }; });
}

}  // namespace

void addVerify(CLI::App& app, Run& run) {
  addLook(app, run, "verify", "check whether binaries in the cache would be admitted, and report why not",
          true);
}

void addList(CLI::App& app, Run& run) {
  addLook(app, run, "list", "show what the cache contains", false);
}

}  // namespace fallbackd::ctl
