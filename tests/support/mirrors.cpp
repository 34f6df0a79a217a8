// SPDX-License-Identifier: Apache-2.0
#include "mirrors.hpp"

#include "sys/file.hpp"

#include <fstream>

namespace fallbackd::e2e {

Result<> setHosts(const ContainerdNode& node, const std::string& host, const std::vector<std::string>& urls,
                  const std::filesystem::path& ca) {
  const auto folder = node.registryConfigDir() / host;
  FB_CHECK(sys::makeDirs(Stage::cli, folder, 0755));
  std::ofstream file(folder / "hosts.toml");
  file << "server = \"" << urls.back() << "\"\n";
  for (const auto& url : urls) {
    file << "[host.\"" << url << "\"]\n  capabilities = [\"pull\", \"resolve\"]\n";
    if (!ca.empty()) file << "  ca = \"" << ca.string() << "\"\n";
  }
  file.close();
  if (!file) return fail(Stage::cli, Reason::system, "write below " + folder.string());
  return {};
}

}  // namespace fallbackd::e2e
