<?php
/**
 * Plugin Name: Tidemark
 * Description: Tells Tidemark which posts, pages, media and terms were published, changed, taken back or deleted.
 * Requires at least: 5.6
 * Requires PHP: 7.4
 * License: Apache-2.0
 *
 * Copy this file to wp-content/mu-plugins/, and say in wp-config.php where to tell it, and by which secret:
 *
 *     define( 'TIDEMARK_URL', 'https://<your worker>/v1/hooks/wordpress' );
 *     define( 'TIDEMARK_SECRET', 'whsec_…' );
 */

defined( 'ABSPATH' ) || exit;

/**
 * What a request changed, told when it ends: each thing is looked at before its first change and once more at the end,
 * so that however often it is saved, it is told once, and its old address with it.
 */
final class Tidemark {
	/** So many changes in one request are told one by one; more are told as "everything". */
	const MOST = 200;

	/** How long each attempt may take, in seconds. */
	const TIMEOUT = 5;

	/** Seconds until each further attempt. Tidemark knows a repetition by its id. */
	const RETRIES = array( 60, 300, 1800, 7200 );

	const DELIVER = 'tidemark_deliver';

	/** What nobody ever sees, whatever its status. */
	const NEVER_SEEN = array( 'revision', 'oembed_cache', 'user_request' );

	/** What can be seen on any page. */
	const EVERYWHERE = array( 'switch_theme', 'customize_save_after', 'wp_update_nav_menu', 'permalink_structure_changed' );

	/** @var array<string, ?array> By "post:42" or "term:7": as visitors saw it before; null where they did not. */
	private static $before = array();

	/** @var array<string, array<int, WP_Term>> Terms that were put on a post, or taken off it. */
	private static $touched = array();

	/** @var bool */
	private static $everything = false;

	public static function listen() {
		add_action( 'pre_post_update', array( __CLASS__, 'before_post' ) );
		add_action( 'before_delete_post', array( __CLASS__, 'before_post' ) );
		add_action( 'delete_attachment', array( __CLASS__, 'before_post' ) );
		add_action( 'set_object_terms', array( __CLASS__, 'before_terms_of_post' ), 10, 6 );
		add_action( 'wp_after_insert_post', array( __CLASS__, 'after_post' ), 10, 4 );
		add_action( 'edit_terms', array( __CLASS__, 'before_term' ) );
		add_action( 'pre_delete_term', array( __CLASS__, 'before_term' ) );
		add_action( 'created_term', array( __CLASS__, 'after_new_term' ) );
		foreach ( self::EVERYWHERE as $hook ) {
			add_action( $hook, array( __CLASS__, 'changed_everywhere' ) );
		}
		// After WordPress has written out its buffers, which it does at priority 1.
		add_action( 'shutdown', array( __CLASS__, 'tell' ), 100 );
		add_action( self::DELIVER, array( __CLASS__, 'deliver' ), 10, 3 );
		// For what a post shows and WordPress does not know of: do_action( 'tidemark_changed', $post_id ).
		add_action( 'tidemark_changed', array( __CLASS__, 'before_post' ) );
	}

	public static function changed_everywhere() {
		self::$everything = true;
	}

	public static function before_post( $id ) {
		if ( ! self::is_known( "post:$id" ) ) {
			self::$before[ "post:$id" ] = self::post( $id );
		}
	}

	/** Also what `pre_post_update` is not called for: a new post, and one that was scheduled. */
	public static function after_post( $id, $post, $is_update, $before ) {
		if ( ! $is_update ) {
			self::$before[ "post:$id" ] = null;
		} elseif ( ! self::is_known( "post:$id" ) ) {
			self::$before[ "post:$id" ] = self::post( $before ? $before : $post );
		}
	}

	public static function before_terms_of_post( $id, $terms, $new, $taxonomy, $append, $old ) {
		$type    = get_post_type( $id );
		$changed = array_merge( array_diff( $new, $old ), $append ? array() : array_diff( $old, $new ) );
		// Not only posts have terms.
		if ( ! $type || ! $changed || ! in_array( $taxonomy, get_object_taxonomies( $type ), true ) ) {
			return;
		}
		self::before_post( $id );
		foreach ( $changed as $term_taxonomy_id ) {
			$term = get_term_by( 'term_taxonomy_id', (int) $term_taxonomy_id, $taxonomy );
			if ( $term ) {
				self::$touched[ "post:$id" ][ $term->term_id ] = $term;
			}
		}
	}

	public static function before_term( $id ) {
		if ( ! self::is_known( "term:$id" ) ) {
			self::$before[ "term:$id" ] = self::term( $id );
		}
	}

	public static function after_new_term( $id ) {
		self::$before[ "term:$id" ] = null;
	}

	/** Whether nothing of a thing need be remembered any more. */
	private static function is_known( $key ) {
		if ( count( self::$before ) >= self::MOST && ! array_key_exists( $key, self::$before ) ) {
			self::$everything = true;
		}
		return self::$everything || array_key_exists( $key, self::$before );
	}

	/** A post as visitors see it now; null if they do not. */
	private static function post( $post ) {
		$post = get_post( $post );
		if ( ! $post || in_array( $post->post_type, self::NEVER_SEEN, true ) ) {
			return null;
		}
		$status = get_post_status_object( $post->post_status );
		$is_file = 'attachment' === $post->post_type && 'inherit' === $post->post_status;
		if ( ! $is_file && ! ( $status && $status->public ) ) {
			return null;
		}
		// While a post goes to the trash, its name is changed before its status is.
		$seen            = clone $post;
		$seen->post_name = preg_replace( '/__trashed$/', '', $post->post_name );
		$terms           = wp_get_object_terms( $post->ID, get_object_taxonomies( $post->post_type ) );
		return array(
			'type'  => $post->post_type,
			'id'    => $post->ID,
			'slug'  => $seen->post_name,
			'url'   => (string) get_permalink( $seen ),
			'terms' => is_wp_error( $terms ) ? array() : $terms,
		);
	}

	/** A term as visitors see it now; null if there is none. */
	private static function term( $id ) {
		$term = get_term( $id );
		if ( ! $term instanceof WP_Term ) {
			return null;
		}
		return array(
			'type'  => $term->taxonomy,
			'id'    => $term->term_id,
			'slug'  => $term->slug,
			'url'   => self::link( $term ),
			'terms' => array( $term ),
		);
	}

	private static function link( WP_Term $term ) {
		$link = get_term_link( $term );
		return is_wp_error( $link ) ? '' : $link;
	}

	/** The end of the request. */
	public static function tell() {
		$bodies       = self::bodies();
		self::$before = array();
		if ( ! $bodies ) {
			return;
		}
		$is_waited_for = 'cli' !== PHP_SAPI && ! wp_doing_cron();
		foreach ( array( 'fastcgi_finish_request', 'litespeed_finish_request' ) as $finish ) {
			if ( $is_waited_for && function_exists( $finish ) ) {
				$finish();
				$is_waited_for = false;
			}
		}
		// Nobody who edits waits for us: where the answer cannot be sent first, WP-Cron delivers. Nor is a list of
		// changes worked off against somebody who does not answer.
		$is_reached = ! $is_waited_for;
		foreach ( $bodies as $body ) {
			$id = 'msg_' . wp_generate_uuid4();
			if ( $is_reached ) {
				$is_reached = self::deliver( $id, $body, 0 );
			} else {
				wp_schedule_single_event( time(), self::DELIVER, array( $id, $body, 0 ) );
			}
		}
	}

	/** What has to be told, as JSON. */
	private static function bodies() {
		$events        = array();
		$is_unlistable = self::$everything;
		foreach ( self::$before as $key => $before ) {
			list( $kind_of_thing, $id ) = explode( ':', $key );
			$is_post                    = 'post' === $kind_of_thing;
			$after                      = $is_post ? self::post( (int) $id ) : self::term( (int) $id );
			if ( $before && $after && $before['url'] !== $after['url'] && self::carries_others( $is_post, $after ) ) {
				self::$everything = true;
			}
			$is_gone = ! ( $is_post && get_post( (int) $id ) );
			$touched = isset( self::$touched[ $key ] ) ? self::$touched[ $key ] : array();
			if ( $before || $after ) {
				$events[] = self::event( $before, $after, $is_gone, $touched );
			}
		}
		if ( self::$everything ) {
			$kinds   = array_column( array_column( $events, 'data' ), 'kind' );
			$is_hard = $is_unlistable && array_intersect( array( 'unpublish', 'delete' ), $kinds );
			$events  = $is_unlistable ? array() : $events;
			// What must be seen no more is in no list then, so all of it has to go for good.
			$events[] = array(
				'type' => 'site.changed',
				'data' => array( 'kind' => $is_hard ? 'unpublish' : 'update' ),
			);
		}
		self::$everything = false;
		$flags            = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE;
		return array_map(
			function ( $event ) use ( $flags ) {
				return wp_json_encode( $event + array( 'timestamp' => gmdate( 'Y-m-d\TH:i:s\Z' ) ), $flags );
			},
			$events
		);
	}

	/** Whether the addresses of others begin with its own. */
	private static function carries_others( $is_post, $thing ) {
		if ( ! $is_post ) {
			return is_taxonomy_hierarchical( $thing['type'] );
		}
		return is_post_type_hierarchical( $thing['type'] ) && get_children(
			array(
				'post_parent' => $thing['id'],
				'post_type'   => $thing['type'],
				'numberposts' => 1,
				'fields'      => 'ids',
			)
		);
	}

	private static function event( $before, $after, $is_gone, $touched ) {
		$kind = $after ? ( $before ? 'update' : 'publish' ) : ( $is_gone ? 'delete' : 'unpublish' );
		// Of what is gone, the address at which it was.
		$now   = $after ? $after : $before;
		$terms = array();
		foreach ( array_merge( $before ? $before['terms'] : array(), $after ? $after['terms'] : array(), $touched ) as $term ) {
			$terms[ $term->term_id ] = array(
				'taxonomy' => $term->taxonomy,
				'id'       => $term->term_id,
				'slug'     => $term->slug,
				// As a template takes it, which encodes what it inserts.
				'path'     => rawurldecode( (string) wp_parse_url( self::link( $term ), PHP_URL_PATH ) ),
			);
		}
		$data = array(
			'kind' => $kind,
			'type' => $now['type'],
			'id'   => $now['id'],
			'slug' => $now['slug'],
			'url'  => $now['url'],
		);
		foreach ( array( 'slug', 'url' ) as $member ) {
			if ( $before && $before[ $member ] !== $now[ $member ] ) {
				$data[ "previous_$member" ] = $before[ $member ];
			}
		}
		$data['tags'] = array();
		foreach ( array_keys( $terms ) as $id ) {
			$data['tags'][] = "term-$id";
		}
		$data['terms'] = array_values( $terms );
		return array(
			'type' => $now['type'] . '.' . $kind,
			'data' => $data,
		);
	}

	/**
	 * One attempt, signed by Standard Webhooks; after a failure the next one is left to WP-Cron.
	 *
	 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
	 * @return bool Whether it was taken.
	 */
	public static function deliver( $id, $body, $attempt ) {
		$time     = (string) time();
		$key      = base64_decode( preg_replace( '/^whsec_/', '', TIDEMARK_SECRET ), true );
		$response = wp_remote_post(
			TIDEMARK_URL,
			array(
				'timeout'     => self::TIMEOUT,
				'redirection' => 0,
				'body'        => $body,
				'headers'     => array(
					'content-type'      => 'application/json',
					'webhook-id'        => $id,
					'webhook-timestamp' => $time,
					'webhook-signature' => 'v1,' . base64_encode( hash_hmac( 'sha256', "$id.$time.$body", (string) $key, true ) ),
				),
			)
		);
		$status   = is_wp_error( $response ) ? $response->get_error_message() : (int) wp_remote_retrieve_response_code( $response );
		if ( is_int( $status ) && $status >= 200 && $status <= 299 ) {
			return true;
		}
		if ( isset( self::RETRIES[ $attempt ] ) ) {
			$next = time() + self::RETRIES[ $attempt ];
			wp_schedule_single_event( $next, self::DELIVER, array( $id, $body, $attempt + 1 ) );
		} else {
			error_log( "Tidemark: $id was not taken: $status" );
		}
		return false;
	}
}

if ( defined( 'TIDEMARK_URL' ) && defined( 'TIDEMARK_SECRET' ) ) {
	Tidemark::listen();
}
