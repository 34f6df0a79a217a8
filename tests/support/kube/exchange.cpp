// SPDX-License-Identifier: Apache-2.0
#include "kube/exchange.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

namespace fallbackd::kube_test {

namespace json = boost::json;

void keepExchanged(const char* way, const json::object& object) {
  const char* const folder =
      std::getenv("KUBE_EXCHANGE_JSON");  // NOLINT(concurrency-mt-unsafe): nothing sets it
  if (folder == nullptr || !object.contains("kind") || !object.contains("apiVersion")) return;
  const std::string kind(object.at("kind").as_string());
  // Kubernetes' schemas do not have the second: the metadata alone, of any object.
  if (kind == "Status" || kind.starts_with("PartialObjectMetadata")) return;
  if (const auto* const items = object.if_contains("items"); items != nullptr && kind.ends_with("List")) {
    for (const auto& item : items->as_array()) {
      // Items of a list do not repeat their kind.
      auto one = item.as_object();
      one["kind"] = kind.substr(0, kind.size() - 4);
      one["apiVersion"] = object.at("apiVersion");
      keepExchanged(way, one);
    }
    return;
  }
  const auto text = json::serialize(object);
  std::ofstream(std::filesystem::path(folder) / (std::string(way) + "-" + kind + "-" +
                                                 std::to_string(std::hash<std::string>()(text)) + ".json"))
      << text << "\n";
}

void keepExchangedText(const char* way, const std::string& body) {
  json::error_code error;
  const auto value = json::parse(body, error);
  if (!error && value.is_object()) keepExchanged(way, value.as_object());
}

}  // namespace fallbackd::kube_test
