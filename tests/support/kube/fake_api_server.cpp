// SPDX-License-Identifier: Apache-2.0
#include "kube/fake_api_server.hpp"

#include "kube/exchange.hpp"

#include <algorithm>
#include <charconv>
#include <regex>
#include <set>
#include <stdexcept>

namespace fallbackd::kube_test {

namespace asio = boost::asio;
namespace json = boost::json;

namespace {

std::string nodeOf(const json::object& pod) {
  return json::value_to<std::string>(pod.at("spec").at("nodeName"));
}

std::optional<std::uint64_t> number(const std::string& text) {
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
    return std::nullopt;
  return value;
}

std::string valueOf(const Seen& request, const std::string& key) {
  const auto found = request.query.find(key);
  return found == request.query.end() ? std::string() : found->second;
}

constexpr const char* kFieldSelector = "spec.nodeName=";

std::string wantedNode(const Seen& request) {
  return valueOf(request, "fieldSelector").substr(std::string(kFieldSelector).size());
}

std::string chunk(const std::string& bytes) {
  constexpr std::size_t kDigits = 16;
  std::string size(kDigits, '0');
  const auto written = std::to_chars(size.data(), size.data() + size.size(), bytes.size(), 16);
  return std::string(size.data(), written.ptr) + "\r\n" + bytes + "\r\n";
}

std::string eventLine(const std::string& type, const json::object& object) {
  return json::serialize(json::object{{"type", type}, {"object", object}}) + "\n";
}

constexpr const char* kNamespaces = "/api/v1/namespaces";

/// The version of an object when only its metadata was requested.
constexpr const char* kMetaVersion = "meta.k8s.io/v1";

std::string bookmarkLine(std::uint64_t version, const Seen& request) {
  if (request.path == kNamespaces) {
    return eventLine("BOOKMARK", {{"kind", "PartialObjectMetadata"},
                                  {"apiVersion", kMetaVersion},
                                  {"metadata", json::object{{"resourceVersion", std::to_string(version)}}}});
  }
  return eventLine("BOOKMARK", {{"kind", "Pod"},
                                {"apiVersion", "v1"},
                                {"metadata", json::object{{"resourceVersion", std::to_string(version)}}},
                                {"spec", json::object{{"containers", nullptr}}}});
}

/// /api/v1/namespaces/NAMESPACE/configmaps/NAME, or a Secret: never a list.
bool isObject(const std::string& path) {
  static const std::regex kObject("/api/v1/namespaces/[a-z0-9-]+/(configmaps|secrets)/[a-z0-9.-]+");
  return std::regex_match(path, kObject);
}

}  // namespace

std::string podJson(const std::string& name, const std::string& uid, const std::string& node,
                    const std::string& image) {
  return json::serialize(json::object{
      {"metadata", json::object{{"name", name},
                                {"namespace", "shop"},
                                {"uid", uid},
                                {"labels", json::object{{"app", "checkout"}, {"pod-template-hash", "5d4f"}}},
                                {"annotations", json::object{{"fallbackd.io/binary.app", "checkout@1.8.3"}}},
                                {"ownerReferences", json::array{json::object{{"apiVersion", "apps/v1"},
                                                                             {"kind", "ReplicaSet"},
                                                                             {"name", "checkout-5d4f"},
                                                                             {"uid", "rs-1"},
                                                                             {"controller", true}}}},
                                {"managedFields", json::array{json::object{{"manager", "kubectl"}}}}}},
      {"spec", json::object{{"nodeName", node},
                            {"containers", json::array{json::object{{"name", "app"}, {"image", image}}}}}},
      {"status", json::object{{"phase", "Pending"}}}});
}

FakeApiServer::FakeApiServer(const Leaf& leaf) : TlsServer(leaf), happened_(executor()) {
  if (!listen()) throw std::runtime_error("listen on loopback");
}

void FakeApiServer::put(const std::string& pod) {
  onThread([this, pod] {
    auto object = json::parse(pod).as_object();
    const auto uid = json::value_to<std::string>(object.at("metadata").at("uid"));
    object.at("metadata").as_object()["resourceVersion"] = std::to_string(++version_);
    const bool known = pods_.contains(uid);
    pods_[uid] = object;
    history_.push_back({version_, known ? "MODIFIED" : "ADDED", std::move(object)});
    happened_.notify();
  });
}

void FakeApiServer::remove(const std::string& uid) {
  onThread([this, uid] {
    auto object = pods_.at(uid);
    pods_.erase(uid);
    object.at("metadata").as_object()["resourceVersion"] = std::to_string(++version_);
    history_.push_back({version_, "DELETED", std::move(object)});
    happened_.notify();
  });
}

void FakeApiServer::putNamespace(const std::string& name,
                                 const std::map<std::string, std::string>& annotations) {
  json::object metadata{{"name", name}, {"uid", "namespace-" + name}};
  json::object marks;
  for (const auto& [key, value] : annotations) marks[key] = value;
  if (!marks.empty()) metadata["annotations"] = std::move(marks);
  keepExchanged("sent", {{"kind", "Namespace"}, {"apiVersion", "v1"}, {"metadata", metadata}});
  onThread([this, name, metadata] {
    json::object object{
        {"kind", "PartialObjectMetadata"}, {"apiVersion", kMetaVersion}, {"metadata", metadata}};
    object.at("metadata").as_object()["resourceVersion"] = std::to_string(++version_);
    const bool known = namespaces_.contains(name);
    namespaces_[name] = object;
    history_.push_back({version_, known ? "MODIFIED" : "ADDED", std::move(object), true});
    happened_.notify();
  });
}

void FakeApiServer::removeNamespace(const std::string& name) {
  onThread([this, name] {
    auto object = namespaces_.at(name);
    namespaces_.erase(name);
    object.at("metadata").as_object()["resourceVersion"] = std::to_string(++version_);
    history_.push_back({version_, "DELETED", std::move(object), true});
    happened_.notify();
  });
}

void FakeApiServer::putOwner(const std::string& path, const std::string& object) {
  onThread([this, path, object] { owners_[path] = object; });
}

void FakeApiServer::removeOwner(const std::string& path) {
  onThread([this, path] { owners_.erase(path); });
}

void FakeApiServer::bookmark() {
  onThread([this] {
    ++version_;
    ++bookmarks_;
    happened_.notify();
  });
}

void FakeApiServer::compact() {
  onThread([this] {
    oldest_ = ++version_;
    history_.clear();
  });
}

void FakeApiServer::sayGoneByStatus(bool by) {
  onThread([this, by] { goneByStatus_ = by; });
}

void FakeApiServer::pageEverything(bool page) {
  onThread([this, page] { pages_ = page; });
}

void FakeApiServer::expireContinue() {
  onThread([this] { continueGone_ = true; });
}

void FakeApiServer::failOldVersions(bool fail) {
  onThread([this, fail] { oldVersionsFail_ = fail; });
}

void FakeApiServer::endWatches(End how) {
  onThread([this, how] {
    end_ = how;
    ++ends_;
    happened_.notify();
  });
}

void FakeApiServer::silenceWatches(bool silent) {
  onThread([this, silent] {
    silent_ = silent;
    happened_.notify();
  });
}

std::vector<json::object> FakeApiServer::events() {
  return onThread([this] { return events_.all(); });
}

void FakeApiServer::withEvents(std::function<void(EventStore&)> work) {
  onThread([this, &work] { work(events_); });
}

void FakeApiServer::troubleEvents(Trouble trouble, When when) {
  onThread([this, trouble, when] {
    eventTrouble_ = trouble;
    eventTroubleWhen_ = when;
  });
}

std::vector<Seen> FakeApiServer::eventRequests() {
  auto all = requests();
  std::erase_if(all, [](const auto& one) { return !EventStore::isEventsPath(one.path); });
  return all;
}

std::size_t FakeApiServer::watches() {
  return onThread([this] { return watches_; });
}

std::size_t FakeApiServer::namespaceWatches() {
  return onThread([this] { return namespaceWatches_; });
}

std::uint64_t FakeApiServer::version() {
  return onThread([this] { return version_; });
}

json::array FakeApiServer::itemsOf(const std::string& node) const {
  json::array items;
  for (const auto& [uid, pod] : pods_) {
    if (nodeOf(pod) == node) items.push_back(pod);
  }
  return items;
}

/// What a real server would refuse or suffer from; empty: nothing.
std::string FakeApiServer::checked(const Seen& request) {
  static const std::set<std::string> kKnown{
      "fieldSelector", "resourceVersion", "resourceVersionMatch", "limit",
      "continue",      "watch",           "allowWatchBookmarks",  "timeoutSeconds"};
  for (const auto& [key, value] : request.query) {
    if (!kKnown.contains(key)) return "unknown parameter " + key;
  }
  if (request.path == kNamespaces) {
    if (request.query.contains("fieldSelector")) return "a selector of pods";
  } else {
    if (!valueOf(request, "fieldSelector").starts_with(kFieldSelector) || wantedNode(request).empty()) {
      return "it requests the pods of other nodes";
    }
    if (request.rawQuery.find("spec.nodeName%3D") == std::string::npos) return "the selector is not escaped";
  }
  const bool watches = request.query.contains("watch");
  const auto from = valueOf(request, "resourceVersion");
  if (!from.empty() && !number(from)) return "the server never gave out this resourceVersion";
  const auto match = valueOf(request, "resourceVersionMatch");
  if (watches) {
    if (valueOf(request, "watch") != "1" && valueOf(request, "watch") != "true") return "watch is not true";
    if (valueOf(request, "allowWatchBookmarks") != "true") return "a watch without bookmarks";
    const auto seconds = number(valueOf(request, "timeoutSeconds"));
    if (!seconds || *seconds < 60 || *seconds > 3600) return "a watch without a sensible end";
    if (from.empty() || from == "0") return "a watch that does not follow a list";
    if (!match.empty() || request.query.contains("limit") || request.query.contains("continue")) {
      return "a watch with parameters of a list";
    }
    return {};
  }
  if (request.query.contains("timeoutSeconds") || request.query.contains("allowWatchBookmarks")) {
    return "a list with parameters of a watch";
  }
  if (!match.empty() && match != "NotOlderThan") return "resourceVersionMatch";
  if (!match.empty() && from.empty()) return "resourceVersionMatch without resourceVersion";
  if (request.query.contains("continue") && (!from.empty() || !match.empty())) {
    return "specifying resource version is not allowed when using continue";
  }
  if (!from.empty() && from != "0" && match.empty() && request.query.contains("limit")) {
    return "limit makes resourceVersion exact, unless resourceVersionMatch says otherwise";
  }
  return {};
}

/// Of a namespace only the metadata may be read.
std::string FakeApiServer::acceptOf(const Seen& request) const {
  if (request.path != kNamespaces) return "application/json";
  return std::string("application/json;as=PartialObjectMetadata") +
         (request.query.contains("watch") ? "" : "List") + ";g=meta.k8s.io;v=v1";
}

bool FakeApiServer::isAsked(const Happening& event, const Seen& request) {
  const bool namespaces = request.path == kNamespaces;
  return event.ofNamespace == namespaces && (namespaces || nodeOf(event.object) == wantedNode(request));
}

asio::awaitable<bool> FakeApiServer::refuse(Stream& stream, unsigned status, std::string message,
                                            std::string reason) {
  co_await answer(stream, status, statusObject(status, message, reason));
  co_return true;
}

asio::awaitable<bool> FakeApiServer::respond(Stream& stream, Seen request) {
  if (!admitted(request)) co_return co_await refuse(stream, 401, "Unauthorized", "Unauthorized");
  if (EventStore::isEventsPath(request.path)) co_return co_await change(stream, std::move(request));
  if (const auto owner = owners_.find(request.path); owner != owners_.end()) {
    co_await answer(stream, 200, owner->second);
    co_return true;
  }
  if (request.path.starts_with("/apis/apps/v1/namespaces/") || isObject(request.path)) {
    co_return co_await refuse(stream, 404, "not found", "NotFound");
  }
  if (request.path != "/api/v1/pods" && request.path != kNamespaces) {
    violation("path " + request.path);
    co_return co_await refuse(stream, 404, "the server could not find the requested resource", "NotFound");
  }
  if (const auto wrong = checked(request); !wrong.empty()) {
    violation(wrong);
    co_return co_await refuse(stream, 400, wrong, "BadRequest");
  }
  if (request.query.contains("watch")) co_return co_await watch(stream, std::move(request));
  co_return co_await list(stream, std::move(request));
}

asio::awaitable<bool> FakeApiServer::change(Stream& stream, Seen request) {
  const bool troubled = eventTrouble_.fault != Fault::none && eventTrouble_.times > 0;
  if (troubled) --eventTrouble_.times;
  if (troubled && eventTroubleWhen_ == When::before) {
    Trouble trouble = eventTrouble_;
    co_return co_await misbehave(stream, std::move(trouble));
  }
  const auto reply = events_.handle(request);
  if (!reply.violation.empty()) violation(reply.violation);
  if (troubled) {
    Trouble trouble = eventTrouble_;
    co_return co_await misbehave(stream, std::move(trouble));
  }
  if (!reply.message.empty()) co_return co_await refuse(stream, reply.status, reply.message, reply.reason);
  co_await answer(stream, reply.status, json::serialize(reply.object));
  co_return true;
}

asio::awaitable<bool> FakeApiServer::list(Stream& stream, Seen request) {
  const auto token = valueOf(request, "continue");
  const auto from = valueOf(request, "resourceVersion");
  if (!token.empty() && continueGone_) {
    continueGone_ = false;
    co_return co_await refuse(stream, 410, "The provided continue parameter is too old", "Expired");
  }
  if (!from.empty() && oldVersionsFail_) {
    co_return co_await refuse(stream, 504, "Timeout: Too large resource version: " + from, "Timeout");
  }
  const bool namespaces = request.path == kNamespaces;
  json::array all;
  if (namespaces) {
    for (const auto& [name, object] : namespaces_) all.push_back(object);
  } else {
    all = itemsOf(wantedNode(request));
  }
  const auto begin = token.empty() ? 0 : number(token).value_or(0);
  const auto limit = number(valueOf(request, "limit")).value_or(0);
  const bool paged = limit > 0 && (from != "0" || pages_);
  const auto end = paged ? std::min<std::uint64_t>(all.size(), begin + limit) : all.size();
  const auto next = end < all.size() ? std::to_string(end) : std::string();
  json::array items;
  for (auto i = begin; i < end; ++i) items.push_back(all.at(i));
  auto text = podList(std::move(items), std::to_string(version_), next);
  if (namespaces) {
    auto list = json::parse(text).as_object();
    list["kind"] = "PartialObjectMetadataList";
    list["apiVersion"] = kMetaVersion;
    text = json::serialize(list);
  }
  co_await answer(stream, 200, std::move(text));
  co_return true;
}

asio::awaitable<bool> FakeApiServer::watch(Stream& stream, Seen request) {
  auto at = number(valueOf(request, "resourceVersion")).value_or(0);
  const json::object gone = json::parse(statusObject(410, "too old resource version", "Expired")).as_object();
  if (at < oldest_ && goneByStatus_) {
    co_return co_await refuse(stream, 410, "too old resource version", "Expired");
  }
  co_await send(stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
  if (at < oldest_) {
    co_await send(stream, chunk(eventLine("ERROR", gone)) + "0\r\n\r\n");
    co_return true;
  }
  struct Count {
    explicit Count(std::size_t& watches) : counted(watches) { ++counted; }
    Count(const Count&) = delete;
    Count& operator=(const Count&) = delete;
    ~Count() { --counted; }
    std::size_t& counted;
  } const count(request.path == kNamespaces ? namespaceWatches_ : watches_);
  const auto ended = ends_;
  auto marked = bookmarks_;
  for (;;) {
    bool sent = false;
    if (!silent_) {
      for (std::size_t i = 0; i < history_.size(); ++i) {
        const auto event = history_[i];
        if (event.version <= at) continue;
        at = event.version;
        sent = true;
        if (!event.ofNamespace) keepExchanged("sent", event.object);
        if (isAsked(event, request)) co_await send(stream, chunk(eventLine(event.type, event.object)));
      }
      if (marked != bookmarks_) {
        marked = bookmarks_;
        at = version_;
        sent = true;
        co_await send(stream, chunk(bookmarkLine(at, request)));
      }
    }
    if (ended != ends_) break;
    if (sent) continue;  // changes in the meantime notified nothing
    co_await happened_.wait();
  }
  switch (end_) {
    case End::clean:
      co_await send(stream, "0\r\n\r\n");
      co_return true;
    case End::cut:
      co_return false;
    case End::within_line:
      co_await send(stream, chunk("{\"type\":\"MODI") + "0\r\n\r\n");
      co_return true;
    case End::garbage:
      co_await send(stream, chunk("<html>\n") + "0\r\n\r\n");
      co_return true;
    case End::error_event:
      co_await send(stream,
                    chunk(eventLine("ERROR", json::parse(statusObject(500, "etcd is away")).as_object())) +
                        "0\r\n\r\n");
      co_return true;
  }
  co_return false;
}

}  // namespace fallbackd::kube_test
