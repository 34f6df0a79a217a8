// SPDX-License-Identifier: Apache-2.0
#include "kube/view_store.hpp"

#include "base/strings.hpp"
#include "kube/json_fields.hpp"
#include "sys/file.hpp"

#include <array>
#include <filesystem>
#include <string_view>

#include <boost/json.hpp>
#include <openssl/sha.h>

namespace fallbackd::kube {

namespace {

namespace json = boost::json;

constexpr std::int64_t kFileVersion = 1;
constexpr mode_t kOwnerOnly = 0600;

std::string digestOf(std::string_view bytes) {
  std::array<std::byte, SHA256_DIGEST_LENGTH> digest{};
  ::SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
           reinterpret_cast<unsigned char*>(digest.data()));
  return toHex(digest);
}

}  // namespace

// The first line describes the rest, which has one pod per line.
Result<PodViewStore::Stored> PodViewStore::load() const {
  FB_TRY(const auto text, sys::readFile(Stage::kube, file_, kMaxFileBytes));
  const auto damaged = [&](const std::string& why) {
    return fail(Stage::kube, Reason::invalid, file_ + " is not used: " + why);
  };
  const std::string_view all = text;
  const auto end = all.find('\n');
  if (end == std::string_view::npos) return damaged("it has no header");
  json::error_code error;
  const auto parsed = json::parse(all.substr(0, end), error);
  const auto* const header = error ? nullptr : parsed.if_object();
  if (header == nullptr) return damaged("its header is damaged");
  const auto* const version = header->if_contains("fallbackdPods");
  if (version == nullptr || !version->is_int64() || version->get_int64() != kFileVersion) {
    return damaged("it is of another version");
  }
  if (field::text(*header, "node") != node_) return damaged("it is of another node");
  const auto saved = parseRfc3339(field::text(*header, "saved"));
  auto rest = all.substr(end + 1);
  if (!saved || field::text(*header, "sha256") != digestOf(rest)) return damaged("it is damaged");
  Stored stored{*saved, {}};
  while (!rest.empty()) {
    const auto stop = rest.find('\n');
    FB_TRY(auto pod, parsePodObject(std::string(rest.substr(0, stop))));
    stored.pods.push_back(std::move(pod));
    rest.remove_prefix(stop == std::string_view::npos ? rest.size() : stop + 1);
  }
  return stored;
}

Result<> PodViewStore::save(const std::vector<PodPtr>& pods, Wall::time_point now) const {
  std::string lines;
  for (const auto& pod : pods) {
    if (pod->json.empty()) continue;
    lines += pod->json;
    lines += '\n';
  }
  const auto header = json::serialize(json::object{{"fallbackdPods", kFileVersion},
                                                   {"node", node_},
                                                   {"saved", rfc3339(now)},
                                                   {"sha256", digestOf(lines)}});
  const std::filesystem::path path(file_);
  FB_TRY(const auto folder, sys::openDir(Stage::kube, path.parent_path()));
  return sys::replaceFile(Stage::kube, folder, path.filename(), header + "\n" + lines, kOwnerOnly);
}

}  // namespace fallbackd::kube
