// SPDX-License-Identifier: Apache-2.0
// The mirror's answers: the pull cases of the distribution specification, and when the mirror passes
// containerd on to the registry.
#include "mirror/endpoint.hpp"

#include "fake_image_store.hpp"
#include "fake_runtime.hpp"
#include "temp_folder.hpp"

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::mirror {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace std::chrono_literals;
using http::Request;
using http::Response;
using test::FakeClock;
using test::FakeImageStore;

constexpr const char* kToken = "0123456789abcdef0123456789abcdef";
constexpr const char* kTag = "/v2/shop/cart/manifests/1";

class EndpointTest : public testing::Test {
 protected:
  EndpointTest() {
    settings.listen = "127.0.0.1:9478";
    settings.tokenFile = folder.write("token", kToken);
    parts = store.putImage("cart");
    store.name("r.x/shop/cart:1", parts.manifest);
    store.updatedAt = clock.wall() - 48h;
    store.name("r.x/shop/cart:1", parts.manifest);
    down();
  }
  void down(Cause cause = Cause::unreachable) { failing = Failing{cause, "refused"}; }

  Endpoint& endpoint() {
    if (!endpoint_) {
      endpoint_ = std::make_unique<Endpoint>(
          loop.get_executor(), settings, defaultTriggers(), Verdicts::Validity{3s, 10s}, "",
          Endpoint::Outside{store,
                            [this](std::string) -> asio::awaitable<std::optional<Failing>> {
                              ++checks;
                              co_return failing;
                            },
                            [this](const ImageReference&) { return recent; },
                            [this](const ServedImage& image) { told.push_back(image); },
                            [](const std::string& what) { ADD_FAILURE() << what; }});
    }
    return *endpoint_;
  }
  Response ask(const std::string& path, Request::Method method = Request::Method::get,
               const std::string& range = "",
               const std::string& authorization = std::string("Bearer ") + kToken) {
    Request request{path, {{"ns", ns}}, ""};
    request.method = method;
    request.range = range;
    request.authorization = authorization;
    return test::runToEnd(loop, endpoint().answer(std::move(request)));
  }
  static std::string header(const Response& response, const std::string& name) {
    for (const auto& [key, value] : response.headers) {
      if (key == name) return value;
    }
    return "";
  }
  std::string bodyOf(Response response) {
    std::string body = response.body;
    while (response.pieces != nullptr && body.size() < response.length) {
      const auto piece = test::runToEnd(loop, response.pieces->next());
      if (!piece || piece->empty()) break;
      body += *piece;
    }
    return body;
  }
  static std::string codeOf(const Response& response) {
    boost::json::error_code error;
    const auto value = json::parse(response.body, error);
    if (error || response.contentType != "application/json") return "not JSON: " + response.body;
    const auto& first = value.as_object().at("errors").as_array().at(0).as_object();
    EXPECT_TRUE(first.contains("message"));
    return std::string(first.at("code").as_string());
  }
  std::uint64_t count(const std::string& outcome) { return endpoint().view().requests.at(outcome); }

  test::TempFolder folder;
  asio::io_context loop;
  FakeClock& clock = FakeClock::install(loop);
  FakeImageStore store;
  FakeImageStore::Parts parts;
  config::MirrorSettings settings;
  std::string ns = "r.x";
  std::optional<Failing> failing;
  std::optional<Failing> recent;
  unsigned checks = 0;
  std::vector<ServedImage> told;

 private:
  std::unique_ptr<Endpoint> endpoint_;
};

// --- The distribution specification, "Pull" ---

TEST_F(EndpointTest, TheBaseAsksForTheToken) {
  for (const auto* path : {"/v2/", "/v2"}) {
    const auto response = ask(path);
    EXPECT_EQ(response.status, 200U);
    EXPECT_EQ(header(response, "Docker-Distribution-Api-Version"), "registry/2.0");
    const auto without = ask(path, Request::Method::get, "", "");
    EXPECT_EQ(without.status, 401U);
    EXPECT_EQ(codeOf(without), "UNAUTHORIZED");
    EXPECT_EQ(header(without, "WWW-Authenticate"), "Bearer realm=\"fallbackd\"")
        << "it must not request a password";
  }
  EXPECT_EQ(checks, 0U);
}

TEST_F(EndpointTest, AManifestComesByTagAndByDigest) {
  for (const auto& path : {std::string(kTag), "/v2/shop/cart/manifests/" + parts.manifest}) {
    const auto head = ask(path, Request::Method::head);
    EXPECT_EQ(head.status, 200U);
    EXPECT_EQ(head.contentType, FakeImageStore::kManifest);
    EXPECT_EQ(header(head, "Docker-Content-Digest"), parts.manifest);
    EXPECT_EQ(head.length, store.blobs[parts.manifest].size());
    EXPECT_EQ(head.body, "");
    auto get = ask(path);
    EXPECT_EQ(get.status, 200U);
    EXPECT_EQ(get.contentType, FakeImageStore::kManifest);
    EXPECT_EQ(header(get, "Docker-Content-Digest"), parts.manifest);
    EXPECT_EQ(bodyOf(std::move(get)), store.blobs[parts.manifest]);
  }
}

TEST_F(EndpointTest, AnIndexComesAsAnIndex) {
  const auto index =
      store.putIndex(Platform::own().architecture, parts.manifest, test::digestOf("elsewhere"));
  store.name("r.x/shop/cart:1", index, FakeImageStore::kIndex);
  const auto response = ask(kTag);
  EXPECT_EQ(response.status, 200U);
  EXPECT_EQ(response.contentType, FakeImageStore::kIndex);
  EXPECT_EQ(header(response, "Docker-Content-Digest"), index);
}

TEST_F(EndpointTest, ABlobComesWholeAndInParts) {
  const auto path = "/v2/shop/cart/blobs/" + parts.layer;
  const auto& text = store.blobs[parts.layer];
  const auto head = ask(path, Request::Method::head);
  EXPECT_EQ(head.status, 200U);
  EXPECT_EQ(head.length, text.size());
  EXPECT_EQ(head.pieces, nullptr);
  EXPECT_EQ(header(head, "Docker-Content-Digest"), parts.layer);
  EXPECT_EQ(header(head, "Accept-Ranges"), "bytes");
  EXPECT_EQ(bodyOf(ask(path)), text);
  auto part = ask(path, Request::Method::get, "bytes=6-7");
  EXPECT_EQ(part.status, 206U);
  EXPECT_EQ(header(part, "Content-Range"), "bytes 6-7/" + std::to_string(text.size()));
  EXPECT_EQ(bodyOf(std::move(part)), "of");
  const auto beyond = ask(path, Request::Method::get, "bytes=1000-");
  EXPECT_EQ(beyond.status, 416U);
  EXPECT_EQ(header(beyond, "Content-Range"), "bytes */" + std::to_string(text.size()));
  EXPECT_GT(endpoint().view().bytes, 0U);
}

TEST_F(EndpointTest, ALargeBlobIsReadPieceByPiece) {
  std::string text(3 * BlobBody::kPieceBytes + 7, 'x');
  text[BlobBody::kPieceBytes] = 'y';
  const auto large = store.putImageOf("large", text);
  store.name("r.x/shop/cart:2", large.manifest);
  EXPECT_EQ(bodyOf(ask("/v2/shop/cart/blobs/" + large.layer)), text);
  EXPECT_EQ(store.longestRead, BlobBody::kPieceBytes);
}

TEST_F(EndpointTest, PiecesThatWaitForTheirClientsAreLimited) {
  const auto large = store.putImageOf("large", std::string(2 * BlobBody::kPieceBytes, 'x'));
  store.name("r.x/shop/cart:2", large.manifest);
  const auto path = "/v2/shop/cart/blobs/" + large.layer;
  std::vector<Response> slow;
  for (std::size_t i = 0; i < ReadTurns::kMaxPieces; ++i) {
    slow.push_back(ask(path));
    EXPECT_TRUE(test::runToEnd(loop, slow.back().pieces->next())) << i;
  }
  auto one = ask(path);
  const auto takeFrom = [&](Response& from, bool& taken) {
    asio::co_spawn(loop, from.pieces->next(),
                   [&taken](const std::exception_ptr&, const Result<std::string>& piece) {
                     taken = piece && !piece->empty();
                   });
  };
  bool read = false;
  takeFrom(one, read);
  clock.advance(loop, 1s);
  EXPECT_FALSE(read) << "the other clients' pieces are still in memory";
  bool more = false;
  takeFrom(slow.front(), more);
  EXPECT_TRUE(test::runUntil(loop, [&] { return read; }))
      << "a waiting client is served before a client that already had a piece";
  EXPECT_FALSE(more);
  slow.pop_back();  // this client disconnects
  EXPECT_TRUE(test::runUntil(loop, [&] { return more; }));
}

TEST_F(EndpointTest, AnEmptyBlobIsEmpty) {
  const auto empty = store.putImageOf("empty", "");
  store.name("r.x/shop/cart:2", empty.manifest);
  const auto& digest = empty.layer;
  const auto response = ask("/v2/shop/cart/blobs/" + digest);
  EXPECT_EQ(response.status, 200U);
  EXPECT_EQ(response.length, 0U);
  EXPECT_EQ(ask("/v2/shop/cart/blobs/" + digest, Request::Method::get, "bytes=0-").status, 416U);
}

TEST_F(EndpointTest, MissingContentHasTheCodeOfTheSpecification) {
  const auto elsewhere = test::digestOf("elsewhere");
  const std::pair<std::string, std::string> cases[] = {
      {"/v2/shop/cart/manifests/2", "MANIFEST_UNKNOWN"},
      {"/v2/shop/cart/manifests/" + elsewhere, "MANIFEST_UNKNOWN"},
      {"/v2/shop/cart/blobs/" + elsewhere, "BLOB_UNKNOWN"},
      {"/v2/shop/cart/tags/list", "UNSUPPORTED"},
      {"/v2/_catalog", "UNSUPPORTED"},
      {"/v2/Shop/manifests/1", "UNSUPPORTED"},
      {"/v2/shop/cart/blobs/sha256:1", "UNSUPPORTED"}};
  for (const auto& [path, code] : cases) {
    failing.reset();  // the registry answers
    const auto response = ask(path);
    EXPECT_EQ(response.status, 404U) << path;
    EXPECT_EQ(codeOf(response), code) << path;
  }
  EXPECT_EQ(refusalAnswer(405, "only GET and HEAD\n").status, 405U);
  EXPECT_EQ(codeOf(refusalAnswer(405, "only GET and HEAD\n")), "UNSUPPORTED");
}

// --- Who is served, and when ---

TEST_F(EndpointTest, WithoutTheTokenNothingIsServedAndNothingIsAskedFor) {
  for (const std::string wrong : {"", "Bearer ", "Bearer wrong", "Basic dTpw", kToken}) {
    const auto response = ask(kTag, Request::Method::get, "", wrong);
    EXPECT_EQ(response.status, 404U) << wrong;
    EXPECT_EQ(codeOf(response), "NAME_UNKNOWN");
    EXPECT_EQ(header(response, "WWW-Authenticate"), "")
        << "containerd would answer with the registry's password";
    EXPECT_EQ(ask("/v2/shop/cart/blobs/" + parts.layer, Request::Method::get, "", wrong).status, 404U);
  }
  EXPECT_EQ(store.calls, 0U);
  EXPECT_EQ(checks, 0U);
  EXPECT_EQ(count("no_token"), 10U);
}

TEST_F(EndpointTest, WhileTheRegistryIsWellContainerdGoesOnToIt) {
  failing.reset();
  for (const auto method : {Request::Method::head, Request::Method::get}) {
    EXPECT_EQ(codeOf(ask(kTag, method)), "MANIFEST_UNKNOWN");
    EXPECT_EQ(codeOf(ask("/v2/shop/cart/blobs/" + parts.config, method)), "BLOB_UNKNOWN");
  }
  EXPECT_EQ(checks, 1U) << "the verdict is shared";
  EXPECT_EQ(count("upstream_well"), 4U);
  EXPECT_EQ(store.calls, 0U) << "containerd's store need not be queried";
  EXPECT_TRUE(told.empty());
}

TEST_F(EndpointTest, WhatTheNodeDoesNotHaveDoesNotHideAnOutage) {
  const auto both = [this] {
    return std::pair(ask("/v2/shop/cart/manifests/2").status,
                     ask("/v2/shop/cart/blobs/" + test::digestOf("elsewhere")).status);
  };
  EXPECT_EQ(both(), std::pair(502U, 502U)) << "a 404 would outweigh a registry that cannot be reached";
  EXPECT_EQ(checks, 1U) << "the verdict is shared";
  EXPECT_EQ(count("not_here"), 2U);
  failing.reset();
  clock.advance(loop, 11s);
  EXPECT_EQ(both(), std::pair(404U, 404U));
}

TEST_F(EndpointTest, ADigestOfAnotherAlgorithmDoesNotHideAnOutage) {
  const auto digest = "sha512:" + std::string(128, 'a');
  EXPECT_EQ(ask("/v2/shop/cart/manifests/" + digest, Request::Method::head).status, 502U);
  EXPECT_EQ(ask("/v2/shop/cart/blobs/" + digest).status, 502U);
  failing.reset();
  clock.advance(loop, 11s);
  EXPECT_EQ(ask("/v2/shop/cart/manifests/" + digest, Request::Method::head).status, 404U);
}

TEST_F(EndpointTest, OnlyCausesThatTriggerCount) {
  for (const auto cause : {Cause::unauthorized, Cause::not_found, Cause::tls, Cause::unknown}) {
    down(cause);
    clock.advance(loop, 11s);
    EXPECT_EQ(ask(kTag).status, 404U) << toString(cause);
  }
  for (const auto cause :
       {Cause::unreachable, Cause::dns, Cause::timeout, Cause::server_error, Cause::rate_limited}) {
    down(cause);
    clock.advance(loop, 11s);
    EXPECT_EQ(ask(kTag).status, 200U) << toString(cause);
  }
}

TEST_F(EndpointTest, ACircuitKnowsWhatACheckCannotSee) {
  failing.reset();
  recent = Failing{Cause::server_error, "503 for manifests"};
  EXPECT_EQ(ask(kTag, Request::Method::head).status, 200U);
  EXPECT_EQ(ask("/v2/shop/cart/manifests/" + parts.manifest).status, 200U);
  recent.reset();
  EXPECT_EQ(ask("/v2/shop/cart/blobs/" + parts.config).status, 200U) << "a pull that began here ends here";
  EXPECT_EQ(ask(kTag, Request::Method::head).status, 404U) << "the next one does not begin here";
  recent = Failing{Cause::unauthorized, "401"};
  EXPECT_EQ(ask(kTag, Request::Method::head).status, 404U);
}

TEST_F(EndpointTest, APullThatBeganHereEndsHereThoughTheRegistryIsBack) {
  EXPECT_EQ(ask(kTag, Request::Method::head).status, 200U);
  failing.reset();
  clock.advance(loop, 11s);
  EXPECT_EQ(ask("/v2/shop/cart/manifests/" + parts.manifest).status, 200U);
  EXPECT_EQ(ask("/v2/shop/cart/blobs/" + parts.config).status, 200U);
  EXPECT_EQ(ask("/v2/shop/cart/manifests/" + parts.manifest, Request::Method::head).status, 404U)
      << "a new pull";
  clock.advance(loop, 60s);
  EXPECT_EQ(ask("/v2/shop/cart/blobs/" + parts.config).status, 404U);
}

TEST_F(EndpointTest, OnlyImagesThatAreListedAreServed) {
  settings.images = {"r.x/shop/cart", "q.x"};
  EXPECT_EQ(ask(kTag).status, 200U);
  store.name("r.x/shop/carts:1", parts.manifest);
  EXPECT_EQ(ask("/v2/shop/carts/manifests/1").status, 502U);
  EXPECT_EQ(ask("/v2/shop/carts/blobs/" + parts.layer).status, 502U);
  EXPECT_EQ(count("excluded"), 2U);
}

/// Anyone who may create pods can make up an unreachable registry.
TEST_F(EndpointTest, UnderAnotherNameNothingIsServedByItsDigest) {
  store.name("evil.x/own:1", store.putImage("own").manifest);
  for (const auto* repository :
       {"r.x/made/up", "evil.x/shop/cart", "evil.x/own", "r.x/shop/car", "r.x/shop"}) {
    const std::string path = repository;
    const auto slash = path.find('/');
    ns = path.substr(0, slash);
    const auto base = "/v2" + path.substr(slash);
    for (const auto method : {Request::Method::head, Request::Method::get}) {
      EXPECT_EQ(ask(base + "/manifests/" + parts.manifest, method).status, 502U) << path;
      EXPECT_EQ(ask(base + "/blobs/" + parts.config, method).status, 502U) << path;
      EXPECT_EQ(ask(base + "/blobs/" + parts.layer, method).status, 502U) << path;
    }
  }
  EXPECT_TRUE(told.empty());
  // Not even during a pull of an image that has a name there.
  ns = "evil.x";
  EXPECT_EQ(ask("/v2/own/manifests/1", Request::Method::head).status, 200U);
  EXPECT_EQ(ask("/v2/own/manifests/" + parts.manifest).status, 502U);
  EXPECT_EQ(ask("/v2/own/blobs/" + parts.layer).status, 502U);
}

TEST_F(EndpointTest, BlobsOfAServedManifestNeedNoSecondLookup) {
  EXPECT_EQ(ask(kTag).status, 200U);
  const auto before = store.calls;
  EXPECT_EQ(ask("/v2/shop/cart/blobs/" + parts.layer, Request::Method::head).status, 200U);
  EXPECT_EQ(store.calls, before + 1) << "the store is queried only for the size";
}

TEST_F(EndpointTest, ATagIsServedUpToItsAgeADigestAlways) {
  const auto digest = "/v2/shop/cart/manifests/" + parts.manifest;
  settings.cached = config::ServeCached::up_to_age;
  settings.maxAge = 49h;
  EXPECT_EQ(ask(kTag, Request::Method::head).status, 200U);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].lastSeen, store.updatedAt);
  clock.advance(loop, 30min);
  store.images["r.x/shop/cart:1"].updatedAt = clock.wall();  // containerd records the mirror's answer
  EXPECT_EQ(ask(kTag, Request::Method::head).status, 200U);
  clock.advance(loop, 31min);
  EXPECT_EQ(codeOf(ask(kTag, Request::Method::get)), "MANIFEST_UNKNOWN");
  EXPECT_EQ(count("stale"), 1U);
  EXPECT_EQ(ask(digest, Request::Method::head).status, 200U);
}

TEST_F(EndpointTest, NeverMeansByDigestOnly) {
  settings.cached = config::ServeCached::never;
  EXPECT_EQ(ask(kTag).status, 502U);
  EXPECT_EQ(ask("/v2/shop/cart/manifests/" + parts.manifest).status, 200U);
}

TEST_F(EndpointTest, AServedImageIsReportedOnceAndAlwaysCounted) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(ask(kTag, Request::Method::head).status, 200U);
    EXPECT_EQ(ask("/v2/shop/cart/manifests/" + parts.manifest).status, 200U);
  }
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].name, "r.x/shop/cart:1");
  EXPECT_EQ(told[0].cause, Cause::unreachable);
  clock.advance(loop, 6min);
  EXPECT_EQ(ask("/v2/shop/cart/manifests/" + parts.manifest, Request::Method::head).status, 200U);
  EXPECT_EQ(ask(kTag, Request::Method::head).status, 200U);
  EXPECT_EQ(told.size(), 3U);
  const auto view = endpoint().view();
  EXPECT_EQ(view.images.at({"tag", "unreachable"}), 4U);
  EXPECT_EQ(view.images.at({"digest", "unreachable"}), 1U);
  EXPECT_EQ(view.served.front().times, 4U);
  EXPECT_TRUE(endpoint().served()->since("r.x/shop/cart:1", clock.now()));
  EXPECT_FALSE(endpoint().served()->since("r.x/shop/cart:2", Stamp()));
}

TEST_F(EndpointTest, AContainerdThatDoesNotAnswerIsPassedOn) {
  store.down = true;
  EXPECT_EQ(codeOf(ask(kTag)), "MANIFEST_UNKNOWN");
  EXPECT_EQ(codeOf(ask("/v2/shop/cart/blobs/" + parts.config)), "BLOB_UNKNOWN");
  EXPECT_EQ(count("failed"), 2U);
}

TEST_F(EndpointTest, NothingIsEverChanged) {
  const auto images = store.images.size();
  const auto blobs = store.blobs;
  ask(kTag, Request::Method::head);
  ask(kTag);
  ask("/v2/shop/cart/blobs/" + parts.layer);
  EXPECT_EQ(store.images.size(), images);
  EXPECT_EQ(store.blobs, blobs);
}

}  // namespace
}  // namespace fallbackd::mirror
