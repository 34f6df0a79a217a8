// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/containerd_config.hpp"

#include "sys/file.hpp"

#include <cstddef>
#include <filesystem>
#include <glob.h>

namespace fallbackd::ctl {

namespace {

constexpr std::size_t kMaxContainerdConfig = 4 << 20;

}  // namespace

Result<mirror::RegistryConfig> readContainerdConfig(const std::string& file) {
  FB_TRY(const auto text, sys::readFile(Stage::cli, file, kMaxContainerdConfig));
  FB_TRY(auto all, mirror::parseContainerdConfig(text, file));
  for (const auto& pattern : all.imports) {
    const auto full =
        pattern.starts_with('/') ? pattern : (std::filesystem::path(file).parent_path() / pattern).string();
    glob_t found{};
    if (::glob(full.c_str(), 0, nullptr, &found) == 0) {  // NOLINT(concurrency-mt-unsafe): one thread
      for (std::size_t i = 0; i < found.gl_pathc; ++i) {
        const auto more = sys::readFile(Stage::cli, found.gl_pathv[i], kMaxContainerdConfig);
        const auto part = more ? mirror::parseContainerdConfig(*more, found.gl_pathv[i])
                               : Result<mirror::RegistryConfig>(tl::unexpected<Error>(more.error()));
        if (!part) {
          ::globfree(&found);
          return part;
        }
        if (!part->configPath.empty()) all.configPath = part->configPath;
        all.hasMirrors = all.hasMirrors || part->hasMirrors;
      }
    }
    ::globfree(&found);
  }
  return all;
}

}  // namespace fallbackd::ctl
