#include "config/load.hpp"

#include "config/raw.hpp"
#include "config/validate.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;

/// The text of a regular file; reported and nothing otherwise.
std::optional<std::string> readText(const std::string& file, Problems& problems) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) {
    problems.add({file, 0, 0}, "cannot be read: " + errnoText(errno),
                 errno == ENOENT ? "name the file with --config" : "");
    return std::nullopt;
  }
  if (!S_ISREG(info.st_mode)) {
    problems.add({file, 0, 0}, "is not a regular file");
    return std::nullopt;
  }
  auto text = sys::readFile(Stage::config, file, kMaxFileBytes);
  if (!text) {
    problems.add({file, 0, 0}, "cannot be read: " + text.error().message());
    return std::nullopt;
  }
  return std::move(*text);
}

/// *.yaml and *.yml of the folder, by name. A folder that is not there has none.
std::vector<std::string> dropIns(const std::string& folder, bool mustExist, Problems& problems) {
  std::vector<std::string> files;
  const auto dir = sys::openDir(Stage::config, folder);
  if (!dir) {
    if (mustExist || dir.error().reason != Reason::not_found)
      problems.add({folder, 0, 0}, dir.error().message());
    return files;
  }
  const auto names = sys::listDir(Stage::config, *dir);
  if (!names) {
    problems.add({folder, 0, 0}, names.error().message());
    return files;
  }
  for (const auto& name : *names) {
    // ConfigMap volumes keep their data in dot folders; editors their scratch in dot files.
    if (name.starts_with('.') || !(name.ends_with(".yaml") || name.ends_with(".yml"))) continue;
    files.push_back(folder + "/" + name);
  }
  return files;
}

}  // namespace

std::string defaultDropInDir(const std::string& mainFile) {
  const auto slash = mainFile.rfind('/');
  return slash == std::string::npos ? "conf.d" : mainFile.substr(0, slash) + "/conf.d";
}

Loaded load(const std::string& mainFile, const std::optional<std::string>& dropInDir) {
  Loaded loaded;
  Problems problems;
  auto config = std::make_shared<Config>();
  std::vector<RawWorkload> workloads;

  const auto readOne = [&](const std::string& file, bool dropIn) {
    loaded.files.push_back(file);
    if (const auto text = readText(file, problems)) {
      readDocument(file, *text, dropIn, *config, workloads, problems);
    }
  };
  readOne(mainFile, false);
  const auto folder = dropInDir.value_or(defaultDropInDir(mainFile));
  for (const auto& file : dropIns(folder, dropInDir.has_value(), problems)) readOne(file, true);

  compareWorkloads(workloads, problems);
  for (auto& raw : workloads) config->workloads.push_back(std::move(raw.workload));
  loaded.diagnostics = problems.take();
  if (loaded.diagnostics.empty()) loaded.config = std::move(config);
  return loaded;
}

}  // namespace fallbackd::config
