// SPDX-License-Identifier: Apache-2.0
// fallbackctl mirror enable and disable: whether containerd asks the mirror, in its hosts.toml files.
#include "app/ctl/cache_options.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/containerd_config.hpp"
#include "app/ctl/input.hpp"
#include "app/ctl/output.hpp"
#include "base/strings.hpp"
#include "config/load.hpp"
#include "config/names.hpp"
#include "domain/image_reference.hpp"
#include "mirror/hosts_edit.hpp"
#include "mirror/hosts_file.hpp"
#include "mirror/token.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <vector>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

namespace {

namespace fs = std::filesystem;

constexpr const char* kHostsFile = "hosts.toml";
constexpr const char* kUsualConfig = "/etc/fallbackd/fallbackd.yaml";

struct MirrorOptions {
  std::string configFile = kUsualConfig;
  std::string containerdConfig = "/etc/containerd/config.toml";
  std::optional<std::string> hostsDir;
  std::optional<std::string> address;
  std::optional<std::string> tokenFile;
  std::vector<std::string> registries;
  bool everyRegistry = false;
  bool anyConfig = false;
  bool write = false;
  bool force = false;
  bool bestEffort = false;
  std::string order = "first";
};

/// The options combined with fallbackd's configuration.
struct MirrorPlan {
  std::string hostsDir;
  std::string address;
  bool listens = false;  // the configuration has a listener, or the caller names one
  std::string tokenFile;
  std::set<std::string> folders;  // below hostsDir
};

std::optional<MirrorPlan> planOf(const MirrorOptions& options, bool enable) {
  MirrorPlan plan;
  if (options.address && !config::isLoopbackAddress(*options.address)) {
    complain("--address " + fallbackd::quoted(*options.address) +
             " is not ADDRESS:PORT on loopback, where the mirror listens; containerd would send its token "
             "there. Write 127.0.0.1:478 or [::1]:478");
    return std::nullopt;
  }
  config::MirrorSettings settings;
  if (fs::exists(options.configFile)) {
    const auto loaded = config::load(options.configFile);
    for (const auto& diagnostic : loaded.diagnostics) complain(diagnostic.toString());
    if (loaded.config == nullptr) return std::nullopt;
    settings = loaded.config->mirror;
    for (const auto& workload : loaded.config->workloads) {
      const auto image = ImageReference::parse(workload.image);
      if (image && options.registries.empty() && !options.everyRegistry) plan.folders.insert(image->host());
    }
  } else if (options.configFile != kUsualConfig) {
    complain(options.configFile + " does not exist");
    return std::nullopt;
  }
  plan.hostsDir = options.hostsDir.value_or(settings.hostsDir);
  plan.address = options.address.value_or(settings.listen.value_or(std::string(mirror::kUsualAddress)));
  plan.listens = options.address || settings.listen;
  if (enable && !plan.listens) {
    complain((options.write && !options.force ? "" : "note: ") + options.configFile +
             " has no mirror.listen: nothing would answer containerd, and containerd 1.x would report that "
             "instead of "
             "the registry's answer. Set mirror.listen: " +
             plan.address + " and restart the daemon first");
  }
  plan.tokenFile = options.tokenFile.value_or(settings.tokenFile);
  for (const auto& text : options.registries) {
    const auto host = parseRegistryHost(text);
    if (!host) {
      complain("--registry " + fallbackd::quoted(text) + ": " + host.error().context);
      return std::nullopt;
    }
    plan.folders.insert(*host);
  }
  if (options.everyRegistry) plan.folders.insert("_default");
  return plan;
}

/// Whether containerd reads hosts.toml files from the folder.
bool isReadByContainerd(const MirrorOptions& options, const MirrorPlan& plan) {
  if (options.anyConfig) return true;
  const auto found = readContainerdConfig(options.containerdConfig);
  if (!found) {
    complain(found.error().message());
    complain("give containerd's configuration: --containerd-config FILE, or --any-containerd-config");
    return false;
  }
  if (found->hasMirrors) {
    complain(options.containerdConfig +
             " has registry.mirrors: containerd accepts either those or hosts.toml files. Move them to " +
             plan.hostsDir + "/HOST/hosts.toml first");
    return false;
  }
  const auto& folders = found->configPath;
  if (std::find(folders.begin(), folders.end(), plan.hostsDir) != folders.end()) return true;
  if (folders.empty()) {
    complain(options.containerdConfig +
             " has no config_path: containerd reads no hosts.toml. Add these lines, and " +
             "restart containerd:\n" + mirror::configPathLines(found->version, plan.hostsDir));
  } else {
    complain("containerd reads hosts.toml files from " + folders.front() + ", not from " + plan.hostsDir +
             ": --hosts-dir " + folders.front() + ", and mirror.hostsDir in fallbackd.yaml");
  }
  return false;
}

/// A hosts.toml as it is and as it should be.
struct HostsChange {
  std::string folder;
  std::optional<std::string> before;  // absent: there is no file
  std::optional<std::string> after;   // absent: it is to be removed
  struct stat facts {};               // of `before`

  [[nodiscard]] std::string file() const { return folder + "/" + kHostsFile; }
};

Result<HostsChange> currentOf(const std::string& folder) {
  HostsChange change{folder, {}, {}, {}};
  if (::lstat(change.file().c_str(), &change.facts) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return change;
    return failErrno(Stage::cli, "look at " + change.file());
  }
  if (S_ISLNK(change.facts.st_mode)) {
    return fail(Stage::cli, Reason::unsafe_file_type,
                change.file() + " is a symbolic link: change the file that it leads to by hand");
  }
  FB_TRY(change.before, sys::readFile(Stage::cli, change.file(), mirror::kMaxHostsFile));
  change.after = change.before;
  return change;
}

Result<> writeChange(const HostsChange& change) {
  if (!change.after) {
    if (::unlink(change.file().c_str()) != 0) return failErrno(Stage::cli, "remove " + change.file());
    // Only if it is empty: others may keep certificates there.
    static_cast<void>(::rmdir(change.folder.c_str()));
    return {};
  }
  FB_CHECK(sys::makeDirs(Stage::cli, change.folder, 0755));
  FB_TRY(const auto folder, sys::openDir(Stage::cli, change.folder));
  // The file has the token now: only its owner may read it.
  const auto before = change.before ? mirror::modeBefore(*change.before) : std::nullopt;
  const bool secret = mirror::modeBefore(*change.after).has_value();
  const mode_t known = change.before ? change.facts.st_mode & 07777U : 0644U;
  const mode_t mode = secret ? known & 0700U : before.value_or(known);
  FB_CHECK(sys::replaceFile(Stage::cli, folder, kHostsFile, *change.after, mode));
  if (change.before && (change.facts.st_uid != ::geteuid() || change.facts.st_gid != ::getegid()) &&
      ::fchownat(folder.get(), kHostsFile, change.facts.st_uid, change.facts.st_gid, AT_SYMLINK_NOFOLLOW) !=
          0) {
    return failErrno(Stage::cli, "give " + change.file() + " back to its owner");
  }
  return {};
}

/// The lines that one text has and the other does not, without the token.
void printLines(char sign, const std::string& longer, const std::string& shorter) {
  constexpr std::string_view kSecret = "\"Bearer ";
  std::size_t same = 0;
  while (same < shorter.size() && longer[same] == shorter[same]) ++same;
  const auto changed = longer.substr(same, longer.size() - shorter.size());
  for (const auto line : split(trim(changed), '\n')) {
    const auto secret = line.find(kSecret);
    const auto shown = secret == std::string_view::npos
                           ? std::string(line)
                           : std::string(line.substr(0, secret)) + "\"Bearer (the token)\"";
    std::printf("  %c %s\n", sign, escaped(shown).c_str());
  }
}

int applyAll(const std::vector<HostsChange>& changes, const MirrorOptions& options) {
  const char* const verb = options.write ? "" : "would ";
  std::size_t done = 0;
  for (const auto& change : changes) {
    if (change.before == change.after) {
      std::printf("%s: nothing to do\n", change.file().c_str());
      continue;
    }
    if (options.write) {
      const auto written = writeChange(change);
      if (!written) return complain(written.error());
    }
    ++done;
    const auto before = change.before.value_or("");
    const auto after = change.after.value_or("");
    const char* const what = !change.before ? "make" : !change.after ? "remove" : "change";
    std::printf("%s%s %s\n", verb, what, change.file().c_str());
    if (!options.write && after.size() > before.size()) printLines('+', after, before);
    if (!options.write && after.size() < before.size()) printLines('-', before, after);
  }
  if (!options.write && done > 0) std::printf("nothing is written; --write does it\n");
  if (options.write && done > 0)
    std::printf("containerd reads these files at every pull: no restart is needed\n");
  return kOk;
}

/// Certificates as Docker has them; containerd reads them only if there is no hosts.toml.
bool hasCertificates(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto ending = entry.path().extension();
    if (ending == ".crt" || ending == ".cert" || ending == ".key" || ending == ".pem") return true;
  }
  return false;
}

/// The folder that containerd uses for the registry; a new one only if it replaces no other.
std::string folderOf(const MirrorPlan& plan, const std::string& registry) {
  for (const auto& one : mirror::hostsFolders(plan.hostsDir, registry)) {
    if (!one.ends_with("/_default") && fs::exists(one)) return one;
  }
  const auto general = plan.hostsDir + "/_default";
  const auto text = sys::readFile(Stage::cli, general + "/" + kHostsFile, mirror::kMaxHostsFile);
  const auto others = text ? mirror::withoutBlock(*text, general) : text;
  if (registry == "_default" || !others || *others == mirror::kMadeByUs)
    return plan.hostsDir + "/" + registry;
  std::printf("%s has no folder: containerd uses %s for it\n", registry.c_str(), general.c_str());
  return general;
}

int enable(const MirrorOptions& options) {
  const auto plan = planOf(options, true);
  if (!plan) return kUsage;
  if (plan->folders.empty()) {
    complain("for which registries? --registry HOST, or --every-registry; no workload names one");
    return kUsage;
  }
  if (options.write && !plan->listens && !options.force) {
    complain("nothing is written; --address names the mirror's address, --force writes anyway");
    return kFailed;
  }
  if (!isReadByContainerd(options, *plan)) return kFailed;
  std::string token = "(the token)";
  if (options.write) {
    auto made = mirror::ensureToken(plan->tokenFile);
    if (!made) return complain(made.error());
    token = std::move(*made);
  }
  const auto order = options.order == "last" ? mirror::Order::last : mirror::Order::first;
  std::vector<HostsChange> changes;
  std::set<std::string> folders;
  for (const auto& name : plan->folders) folders.insert(folderOf(*plan, name));
  for (const auto& folder : folders) {
    auto change = currentOf(folder);
    if (!change) return complain(change.error());
    if (!change->before && hasCertificates(folder)) {
      complain(
          folder +
          " has certificates and no hosts.toml: with one, containerd would not look at them. Name them in a "
          "hosts.toml (ca, client) first");
      return kFailed;
    }
    const auto text = change->before.value_or(std::string(mirror::kMadeByUs));
    const auto known = change->before ? mirror::modeBefore(*change->before) : std::nullopt;
    const auto mode = known.value_or(change->before ? change->facts.st_mode & 07777U : 0644U);
    auto after = mirror::withBlock(text, {plan->address, token, mode}, order, change->file());
    if (!after) return complain(after.error());
    // Without the token no comparison is possible, and none is needed.
    const bool there = !options.write && known.has_value();
    if (!there) change->after = std::move(*after);
    changes.push_back(std::move(*change));
  }
  return applyAll(changes, options);
}

int disable(const MirrorOptions& options) {
  const auto plan = planOf(options, false);
  if (!plan) return kUsage;
  std::vector<HostsChange> changes;
  std::error_code error;
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(plan->hostsDir, error)) folders.push_back(entry.path());
  const bool absent = error == std::errc::no_such_file_or_directory;
  if (error && !(absent && !options.hostsDir)) {
    complain("nothing is removed: the folder " + plan->hostsDir + " of hosts.toml files cannot be read: " +
             error.message() + " (mirror.hostsDir or --hosts-dir names it)");
    return kFailed;
  }
  std::sort(folders.begin(), folders.end());
  for (const auto& folder : folders) {
    const auto name = fs::path(folder).filename().string();
    if (!options.registries.empty() || options.everyRegistry) {
      const auto mine = [&](const std::string& registry) {
        const auto all = mirror::hostsFolders(plan->hostsDir, registry);
        return std::find(all.begin(), all.end(), folder) != all.end() &&
               (name != "_default" || registry == name);
      };
      if (std::none_of(plan->folders.begin(), plan->folders.end(), mine)) continue;
    }
    auto change = currentOf(folder);
    if (!change) {
      if (change.error().reason == Reason::unsafe_file_type) continue;  // enable() does not write it
      return complain(change.error());
    }
    if (!change->before) continue;
    auto after = mirror::withoutBlock(*change->before, change->file());
    if (!after) return complain(after.error());
    if (*after == *change->before) continue;
    if (*after == mirror::kMadeByUs) {
      change->after.reset();
    } else {
      change->after = std::move(*after);
    }
    changes.push_back(std::move(*change));
  }
  if (changes.empty()) {
    std::printf(absent ? "there is no folder %s\n" : "no hosts.toml below %s has the mirror\n",
                plan->hostsDir.c_str());
  }
  return applyAll(changes, options);
}

void addMirrorOptions(CLI::App& command, MirrorOptions& options) {
  command.add_option("-c,--config", options.configFile, "fallbackd.yaml: address, token file, registries")
      ->capture_default_str();
  command.add_option("--hosts-dir", options.hostsDir,
                     "the folder of HOST/hosts.toml files (default: mirror.hostsDir)");
  command.add_option("--registry", options.registries,
                     "only this registry; may be given several times (default: those of workloads)");
  command.add_flag("--every-registry", options.everyRegistry,
                   "_default: every registry that has no folder of its own");
  command.add_flag("--write", options.write, "do it; without it, only show what would be done");
}

}  // namespace

void addMirror(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("mirror", "make containerd ask fallbackd's mirror, or stop it");
  command->require_subcommand(1);
  auto options = std::make_shared<MirrorOptions>();
  auto* on = command->add_subcommand("enable", "add the mirror to the hosts.toml files of registries");
  addMirrorOptions(*on, *options);
  on->add_option("--address", options->address, "of the mirror (default: mirror.listen)");
  on->add_option("--token-file", options->tokenFile, "made if it is missing (default: mirror.tokenFile)");
  on->add_option("--order", options->order, "its place among other hosts; the registry is always last")
      ->check(CLI::IsMember({"first", "last"}))
      ->capture_default_str();
  on->add_option("--containerd-config", options->containerdConfig, "checked for config_path")
      ->capture_default_str();
  on->add_flag("--any-containerd-config", options->anyConfig, "do not check it");
  on->add_flag("--force", options->force, "write although the configuration has no mirror.listen");
  on->add_flag("--best-effort", options->bestEffort,
               "succeed even if it cannot be done, and report why: fallbackd works without it");
  on->callback([options, &run] {
    run = [options] {
      const int code = enable(*options);
      return code == kFailed && options->bestEffort ? kOk : code;
    };
  });
  auto* off = command->add_subcommand("disable", "take the mirror out of all hosts.toml files");
  addMirrorOptions(*off, *options);
  off->callback([options, &run] { run = [options] { return disable(*options); }; });
}

}  // namespace fallbackd::ctl
